// y = silu(gate) * up. Bound by memory and exponentials.
//   fast       ATen's vectorised silu, silu_backward and products
//   reference  the formula, spelled out
// Both compute in float32 (float64 for double) and round once: rounding silu(gate) to bf16 before its product
// would double the error.

#include "kernels/swiglu/swiglu.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "kernels/common/implementation.h"

namespace gca::kernels {
namespace {

using TensorPair = std::tuple<at::Tensor, at::Tensor>;

at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor forward_any(const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor g = gate.to(wide_type(gate));
  const at::Tensor u = up.to(wide_type(gate));
  const bool fast = implementation() != Implementation::reference;
  const at::Tensor y = fast ? at::silu(g).mul_(u) : g / (1 + at::exp(-g)) * u;
  return y.to(gate.scalar_type());
}

TensorPair backward_any(const at::Tensor& dy_in, const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor dy = dy_in.to(wide_type(gate));
  const at::Tensor g = gate.to(wide_type(gate));
  const at::Tensor u = up.to(wide_type(gate));
  at::Tensor dgate;
  at::Tensor dup;
  if (implementation() != Implementation::reference) {
    dgate = at::silu_backward(at::mul(dy, u), g);
    dup = at::silu(g).mul_(dy);
  } else {
    const at::Tensor sigmoid = 1 / (1 + at::exp(-g));
    dgate = dy * u * sigmoid * (1 + g * (1 - sigmoid));
    dup = dy * g * sigmoid;
  }
  return {dgate.to(gate.scalar_type()), dup.to(up.scalar_type())};
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def("swiglu(Tensor gate, Tensor up) -> Tensor");
  m.def("swiglu_backward(Tensor dy, Tensor gate, Tensor up) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("swiglu", forward_any);
  m.impl("swiglu_backward", backward_any);
}

at::Tensor call_forward(const at::Tensor& gate, const at::Tensor& up) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::swiglu", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&)>();
  return op.call(gate, up);
}

class SwigluFunction : public torch::autograd::Function<SwigluFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return call_forward(gate, up);
  }

  static std::vector<at::Tensor> backward(torch::autograd::AutogradContext* context,
                                          const std::vector<at::Tensor>& gradients) {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("gca::swiglu_backward", "")
                               .typed<TensorPair(const at::Tensor&, const at::Tensor&, const at::Tensor&)>();
    const auto saved = context->get_saved_variables();
    auto [dgate, dup] = op.call(gradients[0], saved[0], saved[1]);
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "swiglu: gate is ",
              gate.sizes(), " ", gate.scalar_type(), ", up is ", up.sizes(), " ", up.scalar_type());
  if (!at::GradMode::is_enabled()) return call_forward(gate, up);
  return SwigluFunction::apply(gate, up);
}

}  // namespace gca::kernels
