#include "lib/model/layers/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace gca::model {
namespace {

struct LayerHolder : torch::CustomClassHolder {
  explicit LayerHolder(LayerFunction held) : layer(std::move(held)) {}
  LayerFunction layer;
};

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::TensorList& inputs,
                            const c10::intrusive_ptr<LayerHolder>& holder) {
    context->save_for_backward(inputs.vec());
    context->saved_data["layer"] = c10::IValue::make_capsule(holder);
    const at::NoGradGuard no_grad;
    return holder->layer(inputs.vec());
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    const auto holder = context->saved_data["layer"].toCapsule();
    const auto& layer = static_cast<const LayerHolder&>(*holder).layer;
    const auto saved = context->get_saved_variables();
    std::vector<at::Tensor> leaves;
    for (size_t i = 0; i < saved.size(); ++i)
      leaves.push_back(saved[i].detach().requires_grad_(context->needs_input_grad(i)));
    at::Tensor out;
    {
      const at::AutoGradMode enable_grad(true);
      out = layer(leaves);
    }
    torch::autograd::backward({out}, {gradients[0]});
    std::vector<at::Tensor> result;
    for (const at::Tensor& leaf : leaves) result.push_back(leaf.grad());
    result.emplace_back();  // the layer itself
    return result;
  }
};

}  // namespace

at::Tensor recompute(LayerFunction layer, const std::vector<at::Tensor>& inputs) {
  return RecomputeFunction::apply(at::TensorList(inputs), c10::make_intrusive<LayerHolder>(std::move(layer)));
}

}  // namespace gca::model
