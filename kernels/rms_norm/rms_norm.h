#pragma once
// Root-mean-square norm (Zhang & Sennrich, arXiv 1910.07467):   y = weight * x / sqrt( mean(x^2) + eps )

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// x (.., d) and weight (d) of one type (float32, or float64), y (.., d) rounded once to `out_dtype`;
/// differentiable in both. Statistics are in the type of x.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType out_dtype);

/// Without autograd: (y, inverse_rms (rows)).
std::tuple<at::Tensor, at::Tensor> rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps,
                                                    at::ScalarType out_dtype);

/// Gradients (dx, dweight), with n = x * inverse_rms and g = dy * weight:
///   dx = inverse_rms * ( g - n * mean(g * n) )        dweight = sum over rows of dy * n
/// dweight is summed over fixed blocks of rows in a fixed order: the same for any number of threads.
std::tuple<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& dy, const at::Tensor& x,
                                                     const at::Tensor& weight, const at::Tensor& inverse_rms);

}  // namespace gca::kernels
