// Sliding-window attention, the operator: schema, argument checks, choice of the version, autograd.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/common/implementation.h"
#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels {
namespace {

void check_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
                     int64_t window) {
  constexpr auto name = "sliding_window_attention: ";
  TORCH_CHECK(q.dim() == 4, name, "q must be (B, n, H, dh), got ", q.sizes());
  TORCH_CHECK(k.sizes() == v.sizes(), name, "k ", k.sizes(), " and v ", v.sizes(), " must have one shape");
  TORCH_CHECK(k.dim() == 4 && k.size(0) == q.size(0) && k.size(1) >= q.size(1) && k.size(2) == q.size(2) &&
                  k.size(3) == q.size(3),
              name, "k must be (B, P + n, H, dh) for q ", q.sizes(), ", got ", k.sizes());
  TORCH_CHECK(slopes.dim() == 1 && slopes.size(0) == q.size(2), name, "slopes must be (", q.size(2),
              "), got ", slopes.sizes());
  TORCH_CHECK(window >= 0, name, "window must not be negative, got ", window);

  const auto type = q.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, name,
              "q must be float32, bfloat16 or double, got ", type);
  TORCH_CHECK(k.scalar_type() == type && v.scalar_type() == type, name, "k and v must be ", type, " like q");
  const auto slopes_type = type == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(slopes.scalar_type() == slopes_type, name, "slopes must be ", slopes_type, ", got ",
              slopes.scalar_type());
}

bool use_fast_version(const at::Tensor& q) {
  return implementation() != Implementation::reference && q.scalar_type() != at::kDouble;
}

WindowForwardResult forward_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& slopes, int64_t window, double scale) {
  check_arguments(q, k, v, slopes, window);
  return use_fast_version(q) ? window_forward_cpu(q, k, v, slopes, window, scale)
                             : window_forward_reference(q, k, v, slopes, window, scale);
}

WindowGradients backward_on_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                const at::Tensor& slopes, int64_t window, double scale) {
  check_arguments(q, k, v, slopes, window);
  TORCH_CHECK(dout.sizes() == q.sizes() && dout.scalar_type() == q.scalar_type() &&
                  out.sizes() == q.sizes() && out.scalar_type() == q.scalar_type(),
              "sliding_window_attention: dout and out must have shape and type of q, got ", dout.sizes(),
              " and ", out.sizes());
  TORCH_CHECK(lse.dim() == 3 && lse.size(0) == q.size(0) && lse.size(1) == q.size(2) &&
                  lse.size(2) == q.size(1) && lse.scalar_type() == slopes.scalar_type(),
              "sliding_window_attention: lse must be the forward's (B, H, n), got ", lse.sizes());
  return use_fast_version(q) ? window_backward_cpu(dout, q, k, v, out, lse, slopes, window, scale)
                             : window_backward_reference(dout, q, k, v, out, lse, slopes, window, scale);
}

at::Tensor output_only_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& slopes, int64_t window, double scale) {
  return std::get<0>(forward_on_cpu(q, k, v, slopes, window, scale));
}

/// Saves inputs, output and lse, nothing of the size of the scores; the backward rebuilds the probabilities.
class SlidingWindowAttentionFunction : public torch::autograd::Function<SlidingWindowAttentionFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
                            int64_t window, double scale) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [out, lse] = sliding_window_attention_forward(q, k, v, slopes, window, scale);
    context->save_for_backward({q, k, v, out, lse, slopes});
    context->saved_data["window"] = window;
    context->saved_data["scale"] = scale;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto [dq, dk, dv] = sliding_window_attention_backward(
        gradients[0], saved[0], saved[1], saved[2], saved[3], saved[4], saved[5],
        context->saved_data["window"].toInt(), context->saved_data["scale"].toDouble());
    const at::Tensor none;
    return {dq, dk, dv, none, none, none};
  }
};

at::Tensor with_autograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& slopes, int64_t window, double scale) {
  if (!at::GradMode::is_enabled()) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return std::get<0>(sliding_window_attention_forward(q, k, v, slopes, window, scale));
  }
  return SlidingWindowAttentionFunction::apply(q, k, v, slopes, window, scale);
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "sliding_window_attention(Tensor q, Tensor k, Tensor v, Tensor slopes, int window, float scale) -> "
      "Tensor");
  m.def(
      "sliding_window_attention_forward(Tensor q, Tensor k, Tensor v, Tensor slopes, int window, float "
      "scale) "
      "-> (Tensor out, Tensor lse)");
  m.def(
      "sliding_window_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "Tensor slopes, int window, float scale) -> (Tensor dq, Tensor dk, Tensor dv)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("sliding_window_attention", output_only_on_cpu);
  m.impl("sliding_window_attention_forward", forward_on_cpu);
  m.impl("sliding_window_attention_backward", backward_on_cpu);
}

TORCH_LIBRARY_IMPL(gca, Autograd, m) {
  m.impl("sliding_window_attention", with_autograd);
}

}  // namespace

at::Tensor sliding_window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                    const at::Tensor& slopes, int64_t window, double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::sliding_window_attention", "")
                             .typed<decltype(output_only_on_cpu)>();
  return op.call(q, k, v, slopes, window, scale);
}

std::tuple<at::Tensor, at::Tensor> sliding_window_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                                    const at::Tensor& v,
                                                                    const at::Tensor& slopes, int64_t window,
                                                                    double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::sliding_window_attention_forward", "")
                             .typed<decltype(forward_on_cpu)>();
  return op.call(q, k, v, slopes, window, scale);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> sliding_window_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, const at::Tensor& slopes, int64_t window, double scale) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::sliding_window_attention_backward", "")
                             .typed<decltype(backward_on_cpu)>();
  return op.call(dout, q, k, v, out, lse, slopes, window, scale);
}

}  // namespace gca::kernels
