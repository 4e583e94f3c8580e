#pragma once
// Tensorized attention: hops over the strides 1, t_1, t_1 t_2, .., each of which attends to what the hop
// before it found. The distance i - j in mixed radix t_1, t_2, .. names the one path from i to j, so every
// earlier position within the product of the folds is reached exactly once. A hop is the sliding window on
// the positions of a residue class.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gca::model {

/// Attention at the distances 0, stride, 2 stride, .., `steps` of them (0: all there are), of n positions,
/// the last of P + n. ALiBi counts steps.
///   q (B, n, H, dh)   k, v (B, P + n, H, dh)   slopes (H)   ->   (B, n, H, dh); row i of q is row P + i of k
/// Differentiable in q, k and v.
at::Tensor strided_window(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& slopes, int64_t steps, int64_t stride, double scale);

/// All hops over a whole text, q, k and v (B, L, H, dh) -> (B, L, H, dh).
at::Tensor tensorized_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& slopes, const std::vector<int64_t>& fold, double scale);

}  // namespace gca::model
