// The parts of the cross-entropy that are not matrix products, on a device: tensors to the kernels of
// linear_cross_entropy_cuda.h.
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy_cuda.h"

namespace gca::cuda {
namespace {

constexpr auto kName = "linear_cross_entropy";

/// What the arguments of both kernels have in common.
template <class Params>
Params params_of(const at::Tensor& z, const at::Tensor& targets, int64_t first_column) {
  TORCH_CHECK(z.dim() == 2 && z.scalar_type() == at::kFloat && z.stride(1) == 1, kName,
              ": logits are float32 rows, got ", z.sizes());
  TORCH_CHECK(targets.is_contiguous() && targets.scalar_type() == at::kLong && targets.numel() == z.size(0),
              kName, ": a target a row, int64, got ", targets.sizes());
  Params p;
  p.z = z.const_data_ptr<float>();
  p.targets = targets.const_data_ptr<int64_t>();
  p.rows = z.size(0);
  p.stride = z.stride(0);
  p.columns = to_int32(z.size(1));
  p.first_column = to_int32(first_column);
  return p;
}

void statistics(const at::Tensor& z, const at::Tensor& targets, int64_t first_column, at::Tensor& largest,
                at::Tensor& sum, at::Tensor& target_logit) {
  const c10::DeviceGuard guard(z.device());
  auto p = params_of<CrossEntropyStatisticsParams>(z, targets, first_column);
  p.largest = largest.mutable_data_ptr<float>();
  p.sum = sum.mutable_data_ptr<float>();
  p.target_logit = target_logit.mutable_data_ptr<float>();
  check_launch(launch_cross_entropy_statistics(p, current_stream()), kName);
}

at::Tensor gradient(const at::Tensor& z, const at::Tensor& targets, int64_t first_column,
                    const at::Tensor& largest, const at::Tensor& sum, double scale) {
  const c10::DeviceGuard guard(z.device());
  auto p = params_of<CrossEntropyGradientParams>(z, targets, first_column);
  at::Tensor dz = at::empty(z.sizes(), z.options().dtype(at::kBFloat16));
  p.largest = largest.const_data_ptr<float>();
  p.sum = sum.const_data_ptr<float>();
  p.dz = bf16_result(dz);
  p.scale = static_cast<float>(scale);
  check_launch(launch_cross_entropy_gradient(p, current_stream()), kName);
  return dz;
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("cross_entropy_statistics_", statistics);
  m.impl("cross_entropy_gradient", gradient);
}

}  // namespace
}  // namespace gca::cuda
