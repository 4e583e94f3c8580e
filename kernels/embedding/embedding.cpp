// On the CPU the library's operator; on a device its rows, and a gradient of our own, as the library's adds
// in no fixed order there.

#include "kernels/embedding/embedding.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <vector>

namespace gca::kernels {
namespace {

TORCH_LIBRARY_FRAGMENT(gca, m) {
  // Positions `order` sorted by token, those of token v from starts[v] to starts[v + 1].
  m.def("embedding_gradient(Tensor dh, Tensor order, Tensor starts) -> Tensor");
}

class EmbeddingFunction : public torch::autograd::Function<EmbeddingFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& table,
                            const at::Tensor& ids) {
    context->save_for_backward({ids});
    context->saved_data["V"] = table.size(0);
    return at::embedding(table, ids);
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("gca::embedding_gradient", "")
                               .typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)>();
    const at::Tensor ids = context->get_saved_variables()[0].reshape({-1});
    const int64_t V = context->saved_data["V"].toInt();
    const auto [sorted, order] = at::sort(ids, /*stable=*/true, 0, /*descending=*/false);
    const at::Tensor starts = at::searchsorted(sorted, at::arange(V + 1, ids.options()));
    return {op.call(gradients[0].reshape({ids.numel(), -1}), order, starts), at::Tensor()};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids) {
  if (table.device().is_cpu() || !at::GradMode::is_enabled()) return at::embedding(table, ids);
  return EmbeddingFunction::apply(table, ids);
}

}  // namespace gca::kernels
