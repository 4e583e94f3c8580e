// The norm, alone and with the sum before it: schemas, choice of the version, autograd.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rms_norm/rms_norm_versions.h"

namespace gca::kernels {
namespace {

using ThreeTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

bool is_compute_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16;
}

/// x, y and inverse_rms.
ThreeTensors forward_on_cpu(const at::Tensor& residual, const std::optional<at::Tensor>& update,
                            const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  const bool fast = implementation() != Implementation::reference && residual.scalar_type() == at::kFloat &&
                    is_compute_type(out_dtype);
  const at::Tensor added = update ? update->contiguous() : at::Tensor();
  const auto run = fast ? rms_norm_forward_cpu : rms_norm_forward_reference;
  const NormForward result = run(residual.contiguous(), added, weight, eps, out_dtype);
  return {result.x, result.y, result.inverse_rms};
}

/// dx, dupdate and dweight.
ThreeTensors backward_on_cpu(const std::optional<at::Tensor>& dsum, const at::Tensor& dy, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& inverse_rms,
                             std::optional<at::ScalarType> update_dtype) {
  const bool fast = implementation() != Implementation::reference && x.scalar_type() == at::kFloat &&
                    is_compute_type(dy.scalar_type());
  const auto run = fast ? rms_norm_backward_cpu : rms_norm_backward_reference;
  const NormGradients result = run(dsum ? dsum->contiguous() : at::Tensor(), dy.contiguous(), x.contiguous(),
                                   weight, inverse_rms, update_dtype);
  return {result.dx, result.dupdate, result.dweight};
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "add_rms_norm(Tensor residual, Tensor? update, Tensor weight, float eps, ScalarType out_dtype) "
      "-> (Tensor x, Tensor y, Tensor inverse_rms)");
  m.def(
      "add_rms_norm_backward(Tensor? dsum, Tensor dy, Tensor x, Tensor weight, Tensor inverse_rms, "
      "ScalarType? update_dtype) -> (Tensor dx, Tensor dupdate, Tensor dweight)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("add_rms_norm", forward_on_cpu);
  m.impl("add_rms_norm_backward", backward_on_cpu);
}

ThreeTensors call_forward(const at::Tensor& residual, const std::optional<at::Tensor>& update,
                          const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::add_rms_norm", "")
                             .typed<decltype(forward_on_cpu)>();
  return op.call(residual, update, weight, eps, out_dtype);
}

ThreeTensors call_backward(const std::optional<at::Tensor>& dsum, const at::Tensor& dy, const at::Tensor& x,
                           const at::Tensor& weight, const at::Tensor& inverse_rms,
                           std::optional<at::ScalarType> update_dtype) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::add_rms_norm_backward", "")
                             .typed<decltype(backward_on_cpu)>();
  return op.call(dsum, dy, x, weight, inverse_rms, update_dtype);
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
    auto [same, y, inverse_rms] = call_forward(x, {}, weight, eps, out_dtype);
    context->save_for_backward({x, weight, inverse_rms});
    return y;
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    auto [dx, dupdate, dweight] = call_backward({}, gradients[0], saved[0], saved[1], saved[2], {});
    return {dx, dweight, at::Tensor(), at::Tensor()};
  }
};

/// Keeps the sum, not its parts.
class AddRmsNormFunction : public torch::autograd::Function<AddRmsNormFunction> {
 public:
  static std::vector<at::Tensor> forward(torch::autograd::AutogradContext* context,
                                         const at::Tensor& residual, const at::Tensor& update,
                                         const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
    auto [x, y, inverse_rms] = call_forward(residual, update, weight, eps, out_dtype);
    context->save_for_backward({x, weight, inverse_rms});
    context->saved_data["update_dtype"] = update.scalar_type();
    context->set_materialize_grads(false);  // no zeros for what was not used
    return {x, y};
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto saved = context->get_saved_variables();
    const at::ScalarType update_dtype = context->saved_data["update_dtype"].toScalarType();
    const at::Tensor none;
    if (!gradients[1].defined())  // only the sum was used
      return {gradients[0], gradients[0].to(update_dtype), none, none, none};
    std::optional<at::Tensor> dsum;
    if (gradients[0].defined()) dsum = gradients[0];
    auto [dx, dupdate, dweight] =
        call_backward(dsum, gradients[1], saved[0], saved[1], saved[2], update_dtype);
    return {dx, dupdate, dweight, none, none};
  }
};

void check_arguments(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 1 && x.dim() >= 1 && x.size(-1) == weight.numel(), "rms_norm: x is ", x.sizes(),
              ", weight is ", weight.sizes());
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "rms_norm: x and weight must have one type");
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType out_dtype) {
  check_arguments(x, weight);
  if (!at::GradMode::is_enabled()) return std::get<1>(call_forward(x, {}, weight, eps, out_dtype));
  return RmsNormFunction::apply(x, weight, eps, out_dtype);
}

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& residual, const at::Tensor& update,
                                                const at::Tensor& weight, double eps,
                                                at::ScalarType out_dtype) {
  check_arguments(residual, weight);
  TORCH_CHECK(residual.sizes() == update.sizes(), "add_rms_norm: residual is ", residual.sizes(),
              ", update is ", update.sizes());
  if (!at::GradMode::is_enabled()) {
    auto [x, y, inverse_rms] = call_forward(residual, update, weight, eps, out_dtype);
    return {x, y};
  }
  const auto outputs = AddRmsNormFunction::apply(residual, update, weight, eps, out_dtype);
  return {outputs[0], outputs[1]};
}

}  // namespace gca::kernels
