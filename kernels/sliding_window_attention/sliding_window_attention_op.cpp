// Sliding-window attention, the operator: schema, argument checks, choice of the version, autograd.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/common/implementation.h"
#include "kernels/sliding_window_attention/sliding_window_attention_checks.h"
#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels {
namespace {

bool use_fast_version(const at::Tensor& q) {
  return implementation() != Implementation::reference && q.scalar_type() != at::kDouble;
}

/// (B, m, H_kv, dh) -> (B, m, H, dh): each key/value head once for every query head that reads it.
at::Tensor for_every_head(const at::Tensor& rows, int64_t heads) {
  return rows.size(2) == heads ? rows : rows.repeat_interleave(heads / rows.size(2), 2);
}

WindowForwardResult forward_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& slopes, int64_t window, double scale) {
  check_window_arguments(q, k, v, slopes, window);
  return use_fast_version(q) ? window_forward_cpu(q, k, v, slopes, window, scale)
                             : window_forward_reference(q, for_every_head(k, q.size(2)),
                                                        for_every_head(v, q.size(2)), slopes, window, scale);
}

WindowGradients backward_on_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                const at::Tensor& slopes, int64_t window, double scale) {
  check_window_arguments(q, k, v, slopes, window);
  check_window_gradient_arguments(dout, q, out, lse, slopes);
  TORCH_CHECK(k.size(2) == q.size(2), "sliding_window_attention: gradients are of one key/value head a head");
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
    return sliding_window_attention(q, k, v, slopes, window, scale);
  }
  return SlidingWindowAttentionFunction::apply(q, for_every_head(k, q.size(2)), for_every_head(v, q.size(2)),
                                               slopes, window, scale);
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
