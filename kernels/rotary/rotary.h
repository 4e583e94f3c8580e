#pragma once
// Rotary positions (Su et al., arXiv 2104.09864), rotate-half: element e < dh/2 of a head pairs with e +
// dh/2, turned by the angle pos * theta^(-2e / dh).

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// x (N, S, H, dh), dh even, positions 0..S-1 along S; returns the same shape and type; differentiable.
at::Tensor rotary(const at::Tensor& x, double theta);

}  // namespace gca::kernels
