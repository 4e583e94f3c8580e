#pragma once
// y = x W^T with an fp32 master weight and a copy in the compute type, for one weight or several of one
// input.

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "kernels/linear/int8_weight.h"

namespace gca::kernels {

/// (out, in): the copy that products read, and the float32 master (or the very tensor `compute`) that
/// receives the gradient, in its own type. Without gradients, whole numbers may take the place of the copy.
struct LinearWeight {
  at::Tensor master, compute;
  Int8Weight int8 = {};
};

/// x (.., in), of the type of `compute`, or any that int8 weights are restored to. Returns (.., out), type of
/// x. Differentiable in x and the master.
at::Tensor linear(const at::Tensor& x, const LinearWeight& weight);

/// y_i = x W_i^T for several weights of one input size. The gradient of x is summed over them before it is
/// rounded.
std::vector<at::Tensor> linear_each(const at::Tensor& x, std::span<const LinearWeight> weights);

}  // namespace gca::kernels
