#pragma once
// Finite differences in double against the gradient that autograd gives.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/sin.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace gca::testing {

/// A fixed tensor of numbers between -scale and scale that no simple structure explains.
inline at::Tensor some_numbers(at::IntArrayRef shape, double scale = 1.0, double phase = 0.0) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  const at::Tensor i = at::arange(size, at::kDouble);
  return (scale * at::sin(i * i * 0.37 + i * 1.3 + phase)).view(shape);
}

/// Largest relative error, over inputs, of the directional derivative of sum(function(inputs) * weighting)
/// along a fixed direction. `function` maps double tensors to one double tensor and must be smooth near `inputs`.
inline double gradient_error(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& function,
                             const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const at::Tensor out = function(leaves);
  const at::Tensor weighting = some_numbers(out.sizes(), 1.0, 0.7);
  torch::autograd::backward({(out * weighting).sum()}, {});
  const at::NoGradGuard no_grad;
  double worst = 0;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const at::Tensor direction = some_numbers(leaves[i].sizes(), 1.0, 2.1 + static_cast<double>(i));
    const double predicted = (leaves[i].grad() * direction).sum().item<double>();
    constexpr double kStep = 1e-6;
    const auto value_at = [&](double step) {
      std::vector<at::Tensor> moved;
      for (size_t j = 0; j < leaves.size(); ++j)
        moved.push_back(i == j ? leaves[j].detach() + step * direction : leaves[j].detach());
      return (function(moved) * weighting).sum().item<double>();
    };
    const double measured = (value_at(kStep) - value_at(-kStep)) / (2 * kStep);
    const double error = std::abs(measured - predicted) / std::max(1.0, std::abs(measured));
    worst = std::isnan(error) ? error : std::max(worst, error);
  }
  return worst;
}

}  // namespace gca::testing
