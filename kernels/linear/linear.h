#pragma once
// y = x W^T with an fp32 master weight and a copy in the compute type.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// x (.., in) and `compute` (out, in) of one type; `master` (out, in) float32 (or the very tensor `compute`)
/// receives the gradient, in its own type. Returns (.., out), type of x. Differentiable in x and master.
at::Tensor linear(const at::Tensor& x, const at::Tensor& master, const at::Tensor& compute);

}  // namespace gca::kernels
