// AdamW and the gradients' norm on a device: tensors to the kernels of adamw_cuda.h.
#include <torch/library.h>

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/common/cuda/device_tensor.h"

namespace gca::cuda {
namespace {

void update(at::Tensor& weight, const at::Tensor& gradient, at::Tensor& first_moment,
            at::Tensor& second_moment, const std::optional<at::Tensor>& copy,
            at::ArrayRef<double> coefficients) {
  const c10::DeviceGuard guard(weight.device());
  TORCH_CHECK(weight.scalar_type() == at::kFloat, "adamw_step: on a GPU weights are float32, got ",
              weight.scalar_type());
  TORCH_CHECK(coefficients.size() == 7, "adamw_step: seven coefficients");
  AdamWParams p;
  p.weight = weight.mutable_data_ptr<float>();
  p.gradient = gradient.const_data_ptr<float>();
  p.first_moment = first_moment.mutable_data_ptr<float>();
  p.second_moment = second_moment.mutable_data_ptr<float>();
  if (copy.has_value()) p.copy = bf16_result(*copy);
  p.size = weight.numel();
  p.gradient_scale = static_cast<float>(coefficients[0]);
  p.beta1 = static_cast<float>(coefficients[1]);
  p.beta2 = static_cast<float>(coefficients[2]);
  p.step_size = static_cast<float>(coefficients[3]);
  p.inverse_correction2 = static_cast<float>(coefficients[4]);
  p.epsilon = static_cast<float>(coefficients[5]);
  p.decay = static_cast<float>(coefficients[6]);
  check_launch(launch_adamw(p, current_stream()), "adamw_step");
}

at::Tensor sum_of_squares(at::TensorList gradients) {
  TORCH_CHECK(!gradients.empty(), "gradient_norm: no gradients");
  const c10::DeviceGuard guard(gradients[0].device());
  int64_t blocks = 0;
  for (const at::Tensor& gradient : gradients) blocks += ceil_div(gradient.numel(), kNormBlock);
  const at::TensorOptions doubles = gradients[0].options().dtype(at::kDouble);
  const at::Tensor parts = at::empty({blocks}, doubles);
  at::Tensor sum = at::empty({}, doubles);
  void* const stream = current_stream();
  auto* next = parts.mutable_data_ptr<double>();
  for (const at::Tensor& gradient : gradients) {
    TORCH_CHECK(gradient.is_contiguous() && gradient.scalar_type() == at::kFloat,
                "gradient_norm: on a GPU gradients are contiguous float32");
    if (gradient.numel() == 0) continue;
    const SumOfSquaresParams p{gradient.const_data_ptr<float>(), next, gradient.numel()};
    check_launch(launch_sum_of_squares(p, stream), "gradient_norm");
    next += ceil_div(p.size, kNormBlock);
  }
  const SumPartsParams p{parts.const_data_ptr<double>(), sum.mutable_data_ptr<double>(), blocks};
  check_launch(launch_sum_parts(p, stream), "gradient_norm");
  return sum;
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("adamw_update_", update);
  m.impl("sum_of_squares", sum_of_squares);
}

}  // namespace
}  // namespace gca::cuda
