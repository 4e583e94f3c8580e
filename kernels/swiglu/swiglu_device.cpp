// The SwiGLU gate on a device: tensors to the kernels of swiglu_cuda.h.
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/swiglu/swiglu_cuda.h"

namespace gca::cuda {
namespace {

constexpr auto kName = "swiglu";

void check_size(const at::Tensor& gate) {
  TORCH_CHECK(gate.numel() % 4 == 0, kName, ": on a GPU the size is a multiple of 4, got ", gate.sizes());
}

at::Tensor forward(const at::Tensor& gate_in, const at::Tensor& up_in) {
  const c10::DeviceGuard guard(gate_in.device());
  check_size(gate_in);
  const at::Tensor gate = gate_in.contiguous();
  const at::Tensor up = up_in.contiguous();
  at::Tensor y = at::empty(gate.sizes(), gate.options());
  const SwigluParams p{bf16_data(gate), bf16_data(up), bf16_result(y), y.numel()};
  if (p.size > 0) check_launch(launch_swiglu(p, current_stream()), kName);
  return y;
}

std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& dy_in, const at::Tensor& gate_in,
                                            const at::Tensor& up_in) {
  const c10::DeviceGuard guard(gate_in.device());
  check_size(gate_in);
  const at::Tensor dy = dy_in.contiguous();
  const at::Tensor gate = gate_in.contiguous();
  const at::Tensor up = up_in.contiguous();
  at::Tensor dgate = at::empty(gate.sizes(), gate.options());
  at::Tensor dup = at::empty(up.sizes(), up.options());
  const SwigluBackwardParams p{bf16_data(dy),      bf16_data(gate),  bf16_data(up),
                               bf16_result(dgate), bf16_result(dup), dy.numel()};
  if (p.size > 0) check_launch(launch_swiglu_backward(p, current_stream()), kName);
  return {dgate, dup};
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("swiglu", forward);
  m.impl("swiglu_backward", backward);
}

}  // namespace
}  // namespace gca::cuda
