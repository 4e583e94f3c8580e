#pragma once
// y = x W^T with an fp32 master weight and a copy in the compute type.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// x (.., in) and `compute` (out, in) of one type; `master` (out, in) float32 (or the very tensor `compute`)
/// receives the gradient, in its own type. Returns (.., out), type of x. Differentiable in x and master.
at::Tensor linear(const at::Tensor& x, const at::Tensor& master, const at::Tensor& compute);

/// a b for 2-D a, b of one type; the result in `out_dtype`. bf16 operands go to the bf16 units where this
/// machine has them; elsewhere they are widened (exactly) and multiplied in float32, which is many times
/// faster than emulation.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_dtype);

}  // namespace gca::kernels
