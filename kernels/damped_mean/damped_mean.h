#pragma once
// An exponential moving average along a text, one rate a channel:
//
//   y_t = a x_t + (1 - a) y_(t-1)        a = sigmoid(rate)

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// x (B, L, d) of any float type, rate (d) float32 (double when x is double) -> y (B, L, d), type of x, from
/// y_(-1) = 0; differentiable in both. Means are float32 (double for double). The same bits for any number of
/// threads. On the CPU.
at::Tensor damped_mean(const at::Tensor& x, const at::Tensor& rate);

/// The same after `mean` (B, d), type of the rate, which is replaced by the mean after the last position;
/// undefined: zeros. Without gradients.
at::Tensor damped_mean_after(const at::Tensor& x, const at::Tensor& rate, at::Tensor& mean);

}  // namespace gca::kernels
