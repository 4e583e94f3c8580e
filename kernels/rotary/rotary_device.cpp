// Rotary positions on a device: tensors to the kernel of rotary_cuda.h.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/rotary/rotary_cuda.h"

namespace gca::cuda {
namespace {

at::Tensor turn(const at::Tensor& x_in, double theta, double direction) {
  const c10::DeviceGuard guard(x_in.device());
  const at::Tensor x = x_in.contiguous();
  const int64_t S = x.size(1);
  const int64_t half = x.size(3) / 2;
  TORCH_CHECK(half % 4 == 0, "rotary: on a GPU head_dim is a multiple of 8, got ", 2 * half);
  // S dh / 2 angles, in double as the reference has them: small, and made on the host.
  const at::Tensor frequency = at::pow(theta, -at::arange(half, at::kDouble) / static_cast<double>(half));
  const at::Tensor angle = at::arange(S, at::kDouble).unsqueeze(1) * frequency;
  const at::Tensor cosine = at::cos(angle).to(at::kFloat).to(x.device());
  const at::Tensor sine = at::sin(angle).to(at::kFloat).to(x.device());
  at::Tensor y = at::empty(x.sizes(), x.options());
  RotaryParams p;
  p.x = bf16_data(x);
  p.y = bf16_result(y);
  p.cosine = cosine.const_data_ptr<float>();
  p.sine = sine.const_data_ptr<float>();
  p.rows = x.size(0) * S * x.size(2);
  p.positions = to_int32(S);
  p.heads = to_int32(x.size(2));
  p.head_dim = to_int32(x.size(3));
  p.direction = static_cast<float>(direction);
  if (p.rows > 0) check_launch(launch_rotary(p, current_stream()), "rotary");
  return y;
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("rotary", turn);
}

}  // namespace
}  // namespace gca::cuda
