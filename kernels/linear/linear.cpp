#include "kernels/linear/linear.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/common/implementation.h"
#include "kernels/linear/linear_few_rows.h"
#include "kernels/matrix_product/matrix_product.h"

namespace gca::kernels {
namespace {

at::Tensor as_rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

at::Tensor forward_product(const at::Tensor& x, const at::Tensor& weight) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return matrix_product(as_rows(x), weight.t(), x.scalar_type()).reshape(shape);
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static std::vector<at::Tensor> forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                                         const at::TensorList& masters, const at::TensorList& computes) {
    std::vector<at::Tensor> saved = {x};
    std::vector<at::Tensor> outputs;
    for (const at::Tensor& compute : computes) {
      saved.push_back(compute);
      outputs.push_back(forward_product(x, compute));
    }
    context->save_for_backward(std::move(saved));
    context->saved_data["master_dtype"] = masters[0].scalar_type();
    context->set_materialize_grads(false);  // no zeros for what was not used
    return outputs;
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const size_t count = gradients.size();
    std::vector<at::Tensor> result(1 + 2 * count);  // x, masters, computes
    std::vector<MatrixPair> pairs;
    for (size_t i = 0; i < count; ++i)
      if (gradients[i].defined()) pairs.push_back({as_rows(gradients[i]), saved[1 + i]});
    if (pairs.empty()) return result;
    if (context->needs_input_grad(0))
      result[0] = sum_of_matrix_products(pairs, x.scalar_type()).reshape(x.sizes());
    std::vector<size_t> wanted;
    std::vector<at::Tensor> transposed;
    for (size_t i = 0; i < count; ++i) {
      if (!gradients[i].defined() || !context->needs_input_grad(1 + i)) continue;
      wanted.push_back(1 + i);
      transposed.push_back(as_rows(gradients[i]).t());
    }
    const at::ScalarType master_dtype = context->saved_data["master_dtype"].toScalarType();
    const std::vector<at::Tensor> of_masters = matrix_products(transposed, as_rows(x), master_dtype);
    for (size_t i = 0; i < wanted.size(); ++i) result[wanted[i]] = of_masters[i];
    return result;
  }
};

void check_weight(const at::Tensor& x, const LinearWeight& weight) {
  if (weight.int8.defined()) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "linear: int8 weights have no gradient");
    TORCH_CHECK(x.size(-1) == weight.int8.q.size(1), "linear: x is ", x.sizes(), ", int8 weight is ",
                weight.int8.q.sizes());
    return;
  }
  TORCH_CHECK(x.size(-1) == weight.compute.size(1) && x.scalar_type() == weight.compute.scalar_type(),
              "linear: x is ", x.sizes(), " ", x.scalar_type(), ", weight is ", weight.compute.sizes(), " ",
              weight.compute.scalar_type());
}

/// Without gradients there is nothing to save, and a decoding step is too short for autograd's bookkeeping.
at::Tensor product_without_gradient(const at::Tensor& x, const LinearWeight& weight) {
  const bool is_plain = implementation() == Implementation::reference;
  if (weight.int8.defined()) {
    if (!is_plain && takes_few_rows(x, weight.int8)) return linear_few_rows(x, weight.int8, x.scalar_type());
    return forward_product(x, restore_weight(weight.int8, x.scalar_type()));
  }
  if (!is_plain && takes_few_rows(x, weight.compute))
    return linear_few_rows(x, weight.compute, x.scalar_type());
  return forward_product(x, weight.compute);
}

}  // namespace

std::vector<at::Tensor> linear_each(const at::Tensor& x, std::span<const LinearWeight> weights) {
  for (const LinearWeight& weight : weights) check_weight(x, weight);
  std::vector<at::Tensor> outputs;
  if (!at::GradMode::is_enabled()) {
    for (const LinearWeight& weight : weights) outputs.push_back(product_without_gradient(x, weight));
    return outputs;
  }
  std::vector<at::Tensor> masters;
  std::vector<at::Tensor> computes;
  for (const LinearWeight& weight : weights) {
    masters.push_back(weight.master);
    computes.push_back(weight.compute);
  }
  return LinearFunction::apply(x, at::TensorList(masters), at::TensorList(computes));
}

at::Tensor linear(const at::Tensor& x, const LinearWeight& weight) {
  return linear_each(x, {&weight, 1})[0];
}

}  // namespace gca::kernels
