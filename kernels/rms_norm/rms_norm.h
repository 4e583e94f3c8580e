#pragma once
// Root-mean-square norm (Zhang & Sennrich, arXiv 1910.07467), alone and with the sum before it:
//
//   y = weight * x / sqrt( mean(x^2) + eps )          x itself, or x = residual + update

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// x (.., d) and weight (d) of one type (float32, or float64), y (.., d) rounded once to `out_dtype`;
/// differentiable in both. Statistics are in the type of x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType out_dtype);

/// The same of x = residual + update, in one pass: (x, y). residual and update (.., d), update of any float
/// type; differentiable in residual, update and weight.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& residual, const at::Tensor& update,
                                                const at::Tensor& weight, double eps,
                                                at::ScalarType out_dtype);

}  // namespace gca::kernels
