// y = silu(gate) * up. Bound by memory, next by exponentials.
//   fast       one pass, float32 and bf16
//   reference  the formula, spelled out
// Both compute in float32 (float64 for double) and round once: rounding silu(gate) to bf16 before its product
// would double the error.

#include "kernels/swiglu/swiglu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/row_kernels.h"

namespace gca::kernels {
namespace {

using TensorPair = std::tuple<at::Tensor, at::Tensor>;

at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Elements that are worth a thread.
constexpr int64_t kGrain = int64_t{1} << 14;

bool use_fast_version(const at::Tensor& gate) {
  return implementation() != Implementation::reference && gate.scalar_type() != at::kDouble;
}

template <typename Element>
const Element* data_of(const at::Tensor& tensor) {
  return static_cast<const Element*>(tensor.const_data_ptr());
}

template <typename Element>
at::Tensor forward_fast(const RowKernels<Element>& kernels, const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  auto* to = static_cast<Element*>(y.mutable_data_ptr());
  at::parallel_for(0, y.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels.swiglu(end - begin, data_of<Element>(gate) + begin, data_of<Element>(up) + begin, to + begin);
  });
  return y;
}

template <typename Element>
TensorPair backward_fast(const RowKernels<Element>& kernels, const at::Tensor& dy, const at::Tensor& gate,
                         const at::Tensor& up) {
  at::Tensor dgate = at::empty_like(gate);
  at::Tensor dup = at::empty_like(up);
  auto* to_gate = static_cast<Element*>(dgate.mutable_data_ptr());
  auto* to_up = static_cast<Element*>(dup.mutable_data_ptr());
  at::parallel_for(0, dy.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels.swiglu_backward(end - begin, data_of<Element>(dy) + begin, data_of<Element>(gate) + begin,
                            data_of<Element>(up) + begin, to_gate + begin, to_up + begin);
  });
  return {dgate, dup};
}

at::Tensor forward_any(const at::Tensor& gate_in, const at::Tensor& up_in) {
  const at::Tensor gate = gate_in.contiguous();
  const at::Tensor up = up_in.contiguous();
  if (use_fast_version(gate))
    return gate.scalar_type() == at::kBFloat16 ? forward_fast(row_kernels().of_bf16, gate, up)
                                               : forward_fast(row_kernels().of_float, gate, up);
  const at::Tensor g = gate.to(wide_type(gate));
  return (g / (1 + at::exp(-g)) * up.to(wide_type(gate))).to(gate.scalar_type());
}

TensorPair backward_any(const at::Tensor& dy_in, const at::Tensor& gate_in, const at::Tensor& up_in) {
  const at::Tensor dy = dy_in.contiguous();
  const at::Tensor gate = gate_in.contiguous();
  const at::Tensor up = up_in.contiguous();
  if (use_fast_version(gate))
    return gate.scalar_type() == at::kBFloat16 ? backward_fast(row_kernels().of_bf16, dy, gate, up)
                                               : backward_fast(row_kernels().of_float, dy, gate, up);
  const at::Tensor gradient = dy.to(wide_type(gate));
  const at::Tensor g = gate.to(wide_type(gate));
  const at::Tensor sigmoid = 1 / (1 + at::exp(-g));
  const at::Tensor dgate = gradient * up.to(wide_type(gate)) * sigmoid * (1 + g * (1 - sigmoid));
  const at::Tensor dup = gradient * g * sigmoid;
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
