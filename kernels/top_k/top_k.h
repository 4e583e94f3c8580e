#pragma once
// The k greatest scores of each row, exactly and with a rule for ties.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// scores (.., n) float32 or double, without NaN, n >= k >= 1 -> (.., k) int64: where the k greatest of each
/// row stand, in ascending order; of equal scores the first count as greater. On the CPU.
at::Tensor top_k(const at::Tensor& scores, int64_t k);

}  // namespace gca::kernels
