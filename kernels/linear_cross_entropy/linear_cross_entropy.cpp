// Bound by three matrix products of the same size (logits, dx, dW); what lies between them is a few passes
// over a block of logits that stays near the cache.
//   fast       blocks of kRowBlock rows, only rows that have a target
//   reference  one block of all rows

#include "kernels/linear_cross_entropy/linear_cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/matrix_product/matrix_product.h"

namespace gca::kernels {
namespace {

constexpr int64_t kRowBlock = 512;

struct LossAndGradients {
  at::Tensor loss;     // (M)
  at::Tensor dx;       // (M, d), undefined when not wanted
  at::Tensor dweight;  // (V, d), undefined when not wanted
};

/// Losses of rows that all have a target; gradients of their mean.
LossAndGradients run_blocks(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& targets,
                            bool gradients, at::ScalarType wide, int64_t row_block) {
  const int64_t M = x.size(0);
  LossAndGradients result;
  result.loss = at::empty({M}, x.options().dtype(wide));
  if (gradients) {
    result.dx = at::empty_like(x);
    result.dweight = at::zeros(weight.sizes(), x.options().dtype(wide));
  }
  for (int64_t begin = 0; begin < M; begin += row_block) {
    const int64_t rows = std::min(row_block, M - begin);
    const at::Tensor x_block = x.narrow(0, begin, rows);
    const at::Tensor target_block = targets.narrow(0, begin, rows).unsqueeze(1);
    at::Tensor z = matrix_product(x_block, weight.t(), wide);  // (rows, V)
    const at::Tensor logsumexp = at::logsumexp(z, {1}, true);
    result.loss.narrow(0, begin, rows).copy_((logsumexp - z.gather(1, target_block)).squeeze(1));
    if (!gradients) continue;
    at::Tensor dz = z.sub_(logsumexp).exp_();
    dz.scatter_add_(1, target_block, at::full({rows, 1}, -1.0, dz.options()));
    dz.mul_(1.0 / static_cast<double>(M));
    const at::Tensor dz_compute = dz.to(x.scalar_type());
    result.dx.narrow(0, begin, rows).copy_(matrix_product(dz_compute, weight, x.scalar_type()));
    add_matrix_product(result.dweight, dz_compute.t(), x_block);
  }
  return result;
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
    const int64_t row_block = implementation() != Implementation::reference ? kRowBlock : rows.numel();
    const LossAndGradients result = run_blocks(x.index_select(0, rows), compute,
                                               targets.index_select(0, rows), gradients, wide, row_block);
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
