// Grouped cross-attention, the operator: schema, argument checks, choice of the version, autograd.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/common/implementation.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_checks.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_versions.h"

namespace gca::kernels {
namespace {

/// Indices must name a chunk: a wrong one would read foreign memory.
void check_indices(const at::Tensor& idx, int64_t chunks) {
  const at::Tensor contiguous = idx.contiguous();
  const auto* first = contiguous.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < contiguous.numel(); ++i) {
    TORCH_CHECK(first[i] >= -1 && first[i] < chunks, "grouped_cross_attention: idx names chunk ", first[i],
                " of ", chunks);
  }
}

bool use_fast_version(const at::Tensor& q) {
  return implementation() != Implementation::reference && q.scalar_type() != at::kDouble;
}

GcaForwardResult forward_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& idx, const at::Tensor& w, int64_t chunk_size,
                                int64_t first_offset, double scale, bool softmax_one) {
  const GcaOptions options{{chunk_size, first_offset}, scale, softmax_one};
  check_gca_arguments(q, k, v, idx, w, options.layout);
  check_indices(idx, k.size(1));
  return use_fast_version(q) ? gca_forward_cpu(q, k, v, idx, w, options)
                             : gca_forward_reference(q, k, v, idx, w, options);
}

GcaGradients backward_on_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                             const at::Tensor& lse, int64_t chunk_size, int64_t first_offset, double scale,
                             bool softmax_one) {
  const GcaOptions options{{chunk_size, first_offset}, scale, softmax_one};
  check_gca_arguments(q, k, v, idx, w, options.layout);
  check_indices(idx, k.size(1));
  check_gca_gradient_arguments(dout, q, idx, w, lse);
  return use_fast_version(q) ? gca_backward_cpu(dout, q, k, v, idx, w, lse, options)
                             : gca_backward_reference(dout, q, k, v, idx, w, lse, options);
}

at::Tensor output_only_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& idx, const at::Tensor& w, int64_t chunk_size,
                              int64_t first_offset, double scale, bool softmax_one) {
  return std::get<0>(forward_on_cpu(q, k, v, idx, w, chunk_size, first_offset, scale, softmax_one));
}

/// Saves inputs and lse, nothing of the size of the scores; the backward rebuilds the probabilities.
class GroupedCrossAttentionFunction : public torch::autograd::Function<GroupedCrossAttentionFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v, const at::Tensor& idx,
                            const at::Tensor& w, int64_t chunk_size, int64_t first_offset, double scale,
                            bool softmax_one) {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [out, lse] =
        grouped_cross_attention_forward(q, k, v, idx, w, {chunk_size, first_offset}, scale, softmax_one);
    context->save_for_backward({q, k, v, idx, w, lse});
    context->saved_data["chunk_size"] = chunk_size;
    context->saved_data["first_offset"] = first_offset;
    context->saved_data["scale"] = scale;
    context->saved_data["softmax_one"] = softmax_one;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    auto [dq, dk, dv, dw] =
        grouped_cross_attention_backward(gradients[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                                         saved[5], {data["chunk_size"].toInt(), data["first_offset"].toInt()},
                                         data["scale"].toDouble(), data["softmax_one"].toBool());
    const at::Tensor none;
    return {dq, dk, dv, none, dw, none, none, none, none};
  }
};

at::Tensor with_autograd(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& idx,
                         const at::Tensor& w, int64_t chunk_size, int64_t first_offset, double scale,
                         bool softmax_one) {
  if (!at::GradMode::is_enabled()) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return grouped_cross_attention(q, k, v, idx, w, {chunk_size, first_offset}, scale, softmax_one);
  }
  return GroupedCrossAttentionFunction::apply(q, k, v, idx, w, chunk_size, first_offset, scale, softmax_one);
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "grouped_cross_attention(Tensor q, Tensor k, Tensor v, Tensor idx, Tensor w, int chunk_size, int "
      "first_offset, "
      "float scale, bool softmax_one) -> Tensor");
  m.def(
      "grouped_cross_attention_forward(Tensor q, Tensor k, Tensor v, Tensor idx, Tensor w, int chunk_size, "
      "int first_offset, float scale, bool softmax_one) -> (Tensor out, Tensor lse)");
  m.def(
      "grouped_cross_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor idx, Tensor w, "
      "Tensor lse, "
      "int chunk_size, int first_offset, float scale, bool softmax_one) "
      "-> (Tensor dq, Tensor dk, Tensor dv, Tensor dw)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("grouped_cross_attention", output_only_on_cpu);
  m.impl("grouped_cross_attention_forward", forward_on_cpu);
  m.impl("grouped_cross_attention_backward", backward_on_cpu);
}

TORCH_LIBRARY_IMPL(gca, Autograd, m) {
  m.impl("grouped_cross_attention", with_autograd);
}

}  // namespace

at::Tensor grouped_cross_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& idx, const at::Tensor& w, const ReadingLayout& layout,
                                   double scale, bool softmax_one) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::grouped_cross_attention", "")
                             .typed<decltype(output_only_on_cpu)>();
  return op.call(q, k, v, idx, w, layout.chunk_size, layout.first_offset, scale, softmax_one);
}

std::tuple<at::Tensor, at::Tensor> grouped_cross_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                                   const at::Tensor& v, const at::Tensor& idx,
                                                                   const at::Tensor& w,
                                                                   const ReadingLayout& layout, double scale,
                                                                   bool softmax_one) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::grouped_cross_attention_forward", "")
                             .typed<decltype(forward_on_cpu)>();
  return op.call(q, k, v, idx, w, layout.chunk_size, layout.first_offset, scale, softmax_one);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> grouped_cross_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& idx, const at::Tensor& w, const at::Tensor& lse, const ReadingLayout& layout,
    double scale, bool softmax_one) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::grouped_cross_attention_backward", "")
                             .typed<decltype(backward_on_cpu)>();
  return op.call(dout, q, k, v, idx, w, lse, layout.chunk_size, layout.first_offset, scale, softmax_one);
}

}  // namespace gca::kernels
