// The operator: rows without a target are left out, the rest goes to a version; gradients of the mean are
// made with the loss and wait for the backward pass.
//   bf16          linear_cross_entropy_bf16.cpp, where the processor multiplies bf16
//   float32       composed of library calls, in blocks of rows
//   device        linear_cross_entropy_columns.cpp
//   reference     the same in one block of all rows

#include "kernels/linear_cross_entropy/linear_cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/named_work.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_versions.h"

namespace gca::kernels {
namespace {

/// Rows of float32 logits that are made at a time.
constexpr int64_t kRowBlock = 512;

LossAndGradients run(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& targets,
                     bool gradients) {
  const NamedWork work("gca::linear_cross_entropy");
  if (!x.device().is_cpu()) return linear_cross_entropy_columns(x, weight, targets, gradients);
  if (implementation() == Implementation::reference)
    return linear_cross_entropy_composed(x, weight, targets, gradients, x.size(0));
  const Bf16TileKernels* kernels = bf16_tile_kernels();
  if (x.scalar_type() == at::kBFloat16 && x.device().is_cpu() && kernels != nullptr)
    return linear_cross_entropy_bf16(*kernels, x, weight, targets, gradients);
  return linear_cross_entropy_composed(x, weight, targets, gradients, kRowBlock);
}

class LinearCrossEntropyFunction : public torch::autograd::Function<LinearCrossEntropyFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& x, const at::Tensor& master,
                                                const at::Tensor& compute, const at::Tensor& targets,
                                                bool gradients) {
    const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor rows = at::nonzero(targets.ge(0)).squeeze(1);  // (M)
    at::Tensor per_target = at::zeros({x.size(0)}, x.options().dtype(wide));
    if (rows.numel() == 0) {
      context->saved_data["empty"] = true;
      context->mark_non_differentiable({per_target});
      return {at::zeros({}, per_target.options()), per_target};
    }
    const LossAndGradients result =
        run(x.index_select(0, rows), compute, targets.index_select(0, rows), gradients);
    per_target.index_copy_(0, rows, result.loss);
    context->saved_data["empty"] = false;
    if (gradients) {
      const at::Tensor dx = at::zeros_like(x).index_copy_(0, rows, result.dx);
      context->save_for_backward({dx, result.dweight.to(master.scalar_type())});
    }
    context->mark_non_differentiable({per_target});
    return {result.loss.mean(), per_target};
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    if (context->saved_data["empty"].toBool()) return std::vector<at::Tensor>(5);
    const auto saved = context->get_saved_variables();
    const double upstream = gradients[0].item<double>();
    if (upstream == 1.0) return {saved[0], saved[1], at::Tensor(), at::Tensor(), at::Tensor()};
    return {saved[0] * upstream, saved[1] * upstream, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::tuple<at::Tensor, at::Tensor> linear_cross_entropy(const at::Tensor& x, const at::Tensor& master,
                                                        const at::Tensor& compute,
                                                        const at::Tensor& targets) {
  TORCH_CHECK(x.dim() == 2 && compute.dim() == 2 && x.size(1) == compute.size(1) && targets.dim() == 1 &&
                  targets.size(0) == x.size(0),
              "linear_cross_entropy: x is ", x.sizes(), ", weight is ", compute.sizes(), ", targets ",
              targets.sizes());
  const bool gradients = at::GradMode::is_enabled() && (x.requires_grad() || master.requires_grad());
  const auto outputs = LinearCrossEntropyFunction::apply(x, master, compute, targets, gradients);
  return {outputs[0], outputs[1]};
}

}  // namespace gca::kernels
