// RMSNorm on a device: tensors to the kernels of rms_norm_cuda.h.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/common/cuda/sum_rows_cuda.h"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace gca::cuda {
namespace {

constexpr auto kName = "rms_norm";
using ThreeTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

void check_rows(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t d = weight.numel();
  TORCH_CHECK(x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat, kName,
              ": on a GPU x and weight are float32, got ", x.scalar_type(), " and ", weight.scalar_type());
  TORCH_CHECK(d % 4 == 0 && d <= 2048, kName,
              ": on a GPU rows have a multiple of 4 elements, at most 2048, got ", d);
}

/// 1 for float32, 0 for bfloat16.
int32_t is_float(at::ScalarType type) {
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, kName, ": y is float32 or bfloat16, got ", type);
  return type == at::kFloat ? 1 : 0;
}

ThreeTensors forward(const at::Tensor& residual_in, const std::optional<at::Tensor>& update_in,
                     const at::Tensor& weight_in, double eps, at::ScalarType out_dtype) {
  const c10::DeviceGuard guard(residual_in.device());
  check_rows(residual_in, weight_in);
  const at::Tensor residual = residual_in.contiguous();
  const at::Tensor weight = weight_in.contiguous();
  RmsNormParams p;
  p.y_is_float = is_float(out_dtype);
  p.rows = residual.numel() / weight.numel();
  p.d = to_int32(weight.numel());
  p.eps = static_cast<float>(eps);
  p.x = residual.const_data_ptr<float>();
  p.weight = weight.const_data_ptr<float>();
  at::Tensor x = residual;
  at::Tensor update;
  if (update_in.has_value()) {
    update = update_in->to(at::kBFloat16).contiguous();
    x = at::empty(residual.sizes(), residual.options());
    p.addend = bf16_data(update);
    p.sum = x.mutable_data_ptr<float>();
  }
  at::Tensor y = at::empty(residual.sizes(), residual.options().dtype(out_dtype));
  at::Tensor inverse_rms = at::empty({p.rows}, residual.options());
  p.y = y.mutable_data_ptr();
  p.inverse_rms = inverse_rms.mutable_data_ptr<float>();
  if (p.rows > 0) check_launch(launch_rms_norm(p, current_stream()), kName);
  return {x, y, inverse_rms};
}

ThreeTensors backward(const std::optional<at::Tensor>& dsum, const at::Tensor& dy_in, const at::Tensor& x_in,
                      const at::Tensor& weight_in, const at::Tensor& inverse_rms_in,
                      std::optional<at::ScalarType> update_dtype) {
  const c10::DeviceGuard guard(x_in.device());
  check_rows(x_in, weight_in);
  const at::Tensor dy = dy_in.contiguous();
  const at::Tensor x = x_in.contiguous();
  const at::Tensor weight = weight_in.contiguous();
  const at::Tensor inverse_rms = inverse_rms_in.contiguous();
  RmsNormBackwardParams p;
  p.dy_is_float = is_float(dy.scalar_type());
  p.rows = inverse_rms.numel();
  p.d = to_int32(weight.numel());
  at::Tensor dx = at::empty(x.sizes(), x.options());
  at::Tensor dweight = at::empty(weight.sizes(), weight.options());
  if (p.rows == 0) return {dx, update_dtype ? dx.to(*update_dtype) : at::Tensor(), dweight.zero_()};
  const at::Tensor partial = at::empty({rms_norm_partials(p.rows), p.d}, x.options());
  p.dy = dy.const_data_ptr();
  p.x = x.const_data_ptr<float>();
  p.weight = weight.const_data_ptr<float>();
  p.inverse_rms = inverse_rms.const_data_ptr<float>();
  p.dx = dx.mutable_data_ptr<float>();
  p.partial = partial.mutable_data_ptr<float>();
  void* const stream = current_stream();
  check_launch(launch_rms_norm_backward(p, stream), kName);
  const SumRowsParams sum{p.partial, dweight.mutable_data_ptr<float>(), rms_norm_partials(p.rows), p.d};
  check_launch(launch_sum_rows(sum, stream), kName);
  if (dsum.has_value()) dx.add_(*dsum);
  return {dx, update_dtype ? dx.to(*update_dtype) : at::Tensor(), dweight};
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("add_rms_norm", forward);
  m.impl("add_rms_norm_backward", backward);
}

}  // namespace
}  // namespace gca::cuda
