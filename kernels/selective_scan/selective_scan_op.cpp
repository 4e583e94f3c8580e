// The selective scan, the operator: schema, argument checks, choice of the version, autograd.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/selective_scan/selective_scan_versions.h"

namespace gca::kernels {
namespace {

using ForwardTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

void check_arguments(const SelectiveScanInputs& in, const at::Tensor& state) {
  constexpr auto name = "selective_scan: ";
  TORCH_CHECK(in.u.dim() == 3, name, "u must be (B, L, channels), got ", in.u.sizes());
  TORCH_CHECK(in.delta.sizes() == in.u.sizes() && in.z.sizes() == in.u.sizes(), name,
              "delta and z must have the shape of u, ", in.u.sizes(), ", got ", in.delta.sizes(), " and ",
              in.z.sizes());
  const int64_t channels = in.u.size(2);
  TORCH_CHECK(in.a_log.dim() == 2 && in.a_log.size(0) == channels, name, "a_log must be (", channels,
              ", N), got ", in.a_log.sizes());
  const int64_t states = in.a_log.size(1);
  for (const at::Tensor* x : {&in.b, &in.c})
    TORCH_CHECK(
        x->dim() == 3 && x->size(0) == in.u.size(0) && x->size(1) == in.u.size(1) && x->size(2) == states,
        name, "b and c must be (B, L, ", states, "), got ", x->sizes());
  for (const at::Tensor* x : {&in.d, &in.delta_bias})
    TORCH_CHECK(x->dim() == 1 && x->size(0) == channels, name, "d and delta_bias must be (", channels,
                "), got ", x->sizes());
  const auto type = in.u.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kDouble, name,
              "u must be float32, bfloat16 or double, got ", type);
  for (const at::Tensor* x : {&in.delta, &in.z, &in.b, &in.c})
    TORCH_CHECK(x->scalar_type() == type, name, "delta, z, b and c must be ", type, " like u");
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  for (const at::Tensor* x : {&in.a_log, &in.d, &in.delta_bias, &state})
    TORCH_CHECK(x->scalar_type() == wide, name, "a_log, d, delta_bias and the state must be ", wide);
  TORCH_CHECK(state.dim() == 3 && state.size(0) == in.u.size(0) && state.size(1) == states &&
                  state.size(2) == channels,
              name, "the state must be (B, N, channels), got ", state.sizes());
}

SelectiveScanInputs contiguous(const SelectiveScanInputs& in) {
  return {in.u.contiguous(), in.delta.contiguous(), in.z.contiguous(), in.b.contiguous(),
          in.c.contiguous(), in.a_log.contiguous(), in.d.contiguous(), in.delta_bias.contiguous()};
}

bool use_fast_version(const at::Tensor& u) {
  return implementation() != Implementation::reference && u.scalar_type() != at::kDouble;
}

ForwardTensors forward_on_cpu(const at::Tensor& u, const at::Tensor& delta, const at::Tensor& z,
                              const at::Tensor& b, const at::Tensor& c, const at::Tensor& a_log,
                              const at::Tensor& d, const at::Tensor& delta_bias, const at::Tensor& state,
                              bool keeps_borders) {
  const SelectiveScanInputs in = contiguous({u, delta, z, b, c, a_log, d, delta_bias});
  check_arguments(in, state);
  const auto run = use_fast_version(u) ? selective_scan_forward_cpu : selective_scan_forward_reference;
  const ScanForwardResult result = run(in, state.contiguous(), keeps_borders);
  return {result.out, result.state, result.borders};
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "selective_scan_forward(Tensor u, Tensor delta, Tensor z, Tensor b, Tensor c, Tensor a_log, Tensor d, "
      "Tensor delta_bias, Tensor state, bool keeps_borders) -> (Tensor out, Tensor state_after, Tensor "
      "borders)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("selective_scan_forward", forward_on_cpu);
}

ForwardTensors call_forward(const SelectiveScanInputs& in, const at::Tensor& state, bool keeps_borders) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::selective_scan_forward", "")
                             .typed<decltype(forward_on_cpu)>();
  return op.call(in.u, in.delta, in.z, in.b, in.c, in.a_log, in.d, in.delta_bias, state, keeps_borders);
}

at::Tensor zero_state(const SelectiveScanInputs& in) {
  return at::zeros({in.u.size(0), in.a_log.size(1), in.u.size(2)}, in.a_log.options().requires_grad(false));
}

/// Saves inputs and a state a chunk; the backward pass rebuilds those between.
class SelectiveScanFunction : public torch::autograd::Function<SelectiveScanFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& u,
                            const at::Tensor& delta, const at::Tensor& z, const at::Tensor& b,
                            const at::Tensor& c, const at::Tensor& a_log, const at::Tensor& d,
                            const at::Tensor& delta_bias) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    const SelectiveScanInputs in = contiguous({u, delta, z, b, c, a_log, d, delta_bias});
    const auto [out, state, borders] = call_forward(in, zero_state(in), /*keeps_borders=*/true);
    context->save_for_backward({in.u, in.delta, in.z, in.b, in.c, in.a_log, in.d, in.delta_bias, borders});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const SelectiveScanInputs in = {saved[0], saved[1], saved[2], saved[3],
                                    saved[4], saved[5], saved[6], saved[7]};
    const at::Tensor dout = gradients[0].contiguous();
    const ScanBackwardResult result = use_fast_version(in.u) ? selective_scan_backward_cpu(dout, in, saved[8])
                                                             : selective_scan_backward_reference(dout, in);
    return {result.du, result.ddelta, result.dz, result.db,
            result.dc, result.da_log, result.dd, result.ddelta_bias};
  }
};

}  // namespace

at::Tensor selective_scan(const SelectiveScanInputs& in) {
  return SelectiveScanFunction::apply(in.u, in.delta, in.z, in.b, in.c, in.a_log, in.d, in.delta_bias);
}

at::Tensor selective_scan_after(const SelectiveScanInputs& in, at::Tensor& state) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const auto [out, after, borders] =
      call_forward(in, state.defined() ? state : zero_state(in), /*keeps_borders=*/false);
  state = after;
  return out;
}

}  // namespace gca::kernels
