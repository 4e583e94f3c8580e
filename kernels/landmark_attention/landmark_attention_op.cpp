// Landmark attention, the operator: schema, argument checks, choice of the version, autograd.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/common/implementation.h"
#include "kernels/landmark_attention/landmark_attention_versions.h"

namespace gca::kernels {
namespace {

void check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t block_size) {
  constexpr auto name = "landmark_attention: ";
  TORCH_CHECK(q.dim() == 4, name, "q must be (B, n, H, dh), got ", q.sizes());
  TORCH_CHECK(k.sizes() == v.sizes(), name, "k ", k.sizes(), " and v ", v.sizes(), " must have one shape");
  TORCH_CHECK(k.dim() == 4 && k.size(0) == q.size(0) && k.size(1) >= q.size(1) && k.size(2) == q.size(2) &&
                  k.size(3) == q.size(3),
              name, "k must be (B, P + n, H, dh) for q ", q.sizes(), ", got ", k.sizes());
  TORCH_CHECK(block_size >= 2, name, "blocks must have a position beside the landmark, got ", block_size);
  const auto type = q.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, name,
              "q must be float32, bfloat16 or double, got ", type);
  TORCH_CHECK(k.scalar_type() == type && v.scalar_type() == type, name, "k and v must be ", type, " like q");
}

void check_gradient_arguments(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& out,
                              const at::Tensor& lse) {
  TORCH_CHECK(dout.sizes() == q.sizes() && dout.scalar_type() == q.scalar_type() &&
                  out.sizes() == q.sizes() && out.scalar_type() == q.scalar_type(),
              "landmark_attention: dout and out must have shape and type of q, got ", dout.sizes(), " and ",
              out.sizes());
  const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(lse.dim() == 3 && lse.size(0) == q.size(0) && lse.size(1) == q.size(2) &&
                  lse.size(2) == q.size(1) && lse.scalar_type() == wide,
              "landmark_attention: lse must be the forward's (B, H, n), got ", lse.sizes());
}

bool use_fast_version(const at::Tensor& q) {
  return implementation() != Implementation::reference && q.scalar_type() != at::kDouble;
}

LandmarkForwardResult forward_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     int64_t block_size, double scale) {
  check_arguments(q, k, v, block_size);
  return use_fast_version(q) ? landmark_forward_cpu(q, k, v, block_size, scale)
                             : landmark_forward_reference(q, k, v, block_size, scale);
}

LandmarkGradients backward_on_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                  int64_t block_size, double scale) {
  check_arguments(q, k, v, block_size);
  check_gradient_arguments(dout, q, out, lse);
  return use_fast_version(q) ? landmark_backward_cpu(dout, q, k, v, out, lse, block_size, scale)
                             : landmark_backward_reference(dout, q, k, v, out, lse, block_size, scale);
}

at::Tensor output_only_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              int64_t block_size, double scale) {
  return std::get<0>(forward_on_cpu(q, k, v, block_size, scale));
}

/// Saves inputs, output and lse, nothing of the size of the scores; the backward rebuilds the probabilities.
class LandmarkAttentionFunction : public torch::autograd::Function<LandmarkAttentionFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, int64_t block_size, double scale) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [out, lse] = landmark_attention_forward(q, k, v, block_size, scale);
    context->save_for_backward({q, k, v, out, lse});
    context->saved_data["block_size"] = block_size;
    context->saved_data["scale"] = scale;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto [dq, dk, dv] = landmark_attention_backward(
        gradients[0].contiguous(), saved[0], saved[1], saved[2], saved[3], saved[4],
        context->saved_data["block_size"].toInt(), context->saved_data["scale"].toDouble());
    const at::Tensor none;
    return {dq, dk, dv, none, none};
  }
};

at::Tensor with_autograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t block_size,
                         double scale) {
  if (!at::GradMode::is_enabled()) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return landmark_attention(q, k, v, block_size, scale);
  }
  return LandmarkAttentionFunction::apply(q, k, v, block_size, scale);
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def("landmark_attention(Tensor q, Tensor k, Tensor v, int block_size, float scale) -> Tensor");
  m.def(
      "landmark_attention_forward(Tensor q, Tensor k, Tensor v, int block_size, float scale) -> (Tensor out, "
      "Tensor lse)");
  m.def(
      "landmark_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, int "
      "block_size, float scale) -> (Tensor dq, Tensor dk, Tensor dv)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("landmark_attention", output_only_on_cpu);
  m.impl("landmark_attention_forward", forward_on_cpu);
  m.impl("landmark_attention_backward", backward_on_cpu);
}

TORCH_LIBRARY_IMPL(gca, Autograd, m) {
  m.impl("landmark_attention", with_autograd);
}

}  // namespace

at::Tensor landmark_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              int64_t block_size, double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::landmark_attention", "")
                             .typed<decltype(output_only_on_cpu)>();
  return op.call(q, k, v, block_size, scale);
}

std::tuple<at::Tensor, at::Tensor> landmark_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                              const at::Tensor& v, int64_t block_size,
                                                              double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::landmark_attention_forward", "")
                             .typed<decltype(forward_on_cpu)>();
  return op.call(q, k, v, block_size, scale);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> landmark_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, int64_t block_size, double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::landmark_attention_backward", "")
                             .typed<decltype(backward_on_cpu)>();
  return op.call(dout, q, k, v, out, lse, block_size, scale);
}

}  // namespace gca::kernels
