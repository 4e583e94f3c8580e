#pragma once
// One golden case, run and compared. Errors are relative to the largest golden entry of a tensor, absolute
// for losses. Bounds:
//   fp32  operators, checkpoints of a Llama and cache policies 1e-5, model results and gradients 5e-5; whole
//         numbers, which are choices, are equal
//   bf16  at most 2 times (gradients 3 times) the error of the plain bf16 version, which runs beside it on
//         the CPU, plus half a unit of bf16's last place. Where a related architecture chooses what to read,
//         bf16 may choose otherwise: of its inference form the loss alone is compared

#include <string>
#include <vector>

#include "tests/golden_check/quantity_table.h"

namespace gca::golden {

/// Every quantity of the case at `path`, run on `device`.
std::vector<Quantity> check_file(const std::string& path, at::ScalarType dtype, at::Device device = at::kCPU);

/// True for cases of full attention, which no other device runs.
bool runs_on_the_cpu_alone(const std::string& path);

/// The case's dh: CUDA kernels have 32, 64 and 128.
int64_t head_dim_of(const std::string& path);

}  // namespace gca::golden
