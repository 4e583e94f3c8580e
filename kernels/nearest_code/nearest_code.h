#pragma once
// The nearest of the codes of a head, by Euclidean distance, for each of its keys.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// keys (B, L, H, dh) of any float type, codes (H, N, dh) float32 (double when keys are) -> (B, L, H) int64, the
/// first of equally near codes. Distances are float32 (double for double); of bf16 keys each code is the sum of two
/// bf16 numbers, 16 bits of it. No gradients. On the CPU.
at::Tensor nearest_code(const at::Tensor& keys, const at::Tensor& codes);

}  // namespace gca::kernels
