#pragma once
// Golden cases of what a related architecture reads, alone (metadata entries "kind" and "parameters").

#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

/// Runs the form that trains forward and backward, and where there is another the form that reads texts;
/// results under the golden names, on the CPU.
NamedTensors run_mechanism_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device = at::kCPU);

}  // namespace gca::golden
