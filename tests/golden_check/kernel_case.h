#pragma once
// Golden cases of the two attention operators alone.

#include "tests/golden_check/golden_file.h"
#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

/// Runs forward and backward with the operators' current implementation in `dtype` on `device`; results under
/// the golden names, on the CPU.
NamedTensors run_kernel_case(const GoldenFile& golden, at::ScalarType dtype, at::Device device = at::kCPU);

/// Largest absolute scaled score of the case: exp() turns its rounding into a relative error of the probabilities.
double largest_score(const GoldenFile& golden);

}  // namespace gca::golden
