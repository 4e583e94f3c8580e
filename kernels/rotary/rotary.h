#pragma once
// Rotary positions (Su et al., arXiv 2104.09864), rotate-half: element e < dh/2 of a head pairs with e +
// dh/2, turned by the angle pos * theta^(-2e / dh).

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// x (N, S, H, dh), dh even, positions 0..S-1 along S; returns the same shape and type; differentiable.
at::Tensor rotary(const at::Tensor& x, double theta);

/// x (N, n, H, dh), turned by angles given as cosine and sine (n, dh/2), float32 (double when x is double); a
/// factor on both is a factor on the result. The same shape and type; differentiable in x. On the CPU.
at::Tensor rotary_by_table(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace gca::kernels
