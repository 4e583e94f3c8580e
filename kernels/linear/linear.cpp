#include "kernels/linear/linear.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

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
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& master, const at::Tensor& compute) {
    context->save_for_backward({x, compute});
    context->saved_data["master_dtype"] = master.scalar_type();
    return forward_product(x, compute);
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& compute = saved[1];
    const at::Tensor dy = as_rows(gradients[0]);
    at::Tensor dx;
    at::Tensor dweight;
    if (context->needs_input_grad(0)) dx = matrix_product(dy, compute, x.scalar_type()).reshape(x.sizes());
    if (context->needs_input_grad(1))
      dweight = matrix_product(dy.t(), as_rows(x), context->saved_data["master_dtype"].toScalarType());
    return {dx, dweight, at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& master, const at::Tensor& compute) {
  TORCH_CHECK(x.size(-1) == compute.size(1) && x.scalar_type() == compute.scalar_type(), "linear: x is ",
              x.sizes(), " ", x.scalar_type(), ", weight is ", compute.sizes(), " ", compute.scalar_type());
  // Without gradients there is nothing to save, and a decoding step is too short for autograd's bookkeeping.
  if (!at::GradMode::is_enabled()) {
    if (implementation() != Implementation::reference && takes_few_rows(x, compute))
      return linear_few_rows(x, compute);
    return forward_product(x, compute);
  }
  return LinearFunction::apply(x, master, compute);
}

}  // namespace gca::kernels
