// The gradient of a table of embeddings on a device: tensors to the kernel of embedding_gradient_cuda.h.
#include <torch/library.h>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/embedding/embedding_gradient_cuda.h"

namespace gca::cuda {
namespace {

at::Tensor gradient(const at::Tensor& dh_in, const at::Tensor& order_in, const at::Tensor& starts_in) {
  const c10::DeviceGuard guard(dh_in.device());
  const at::Tensor dh = dh_in.contiguous();
  const at::Tensor order = order_in.contiguous();
  const at::Tensor starts = starts_in.contiguous();
  TORCH_CHECK(dh.scalar_type() == at::kFloat && dh.size(1) % 4 == 0,
              "embedding_gradient: on a GPU dh is float32 with a multiple of 4 columns, got ", dh.sizes());
  at::Tensor result = at::empty({starts.numel() - 1, dh.size(1)}, dh.options());
  EmbeddingGradientParams p;
  p.dh = dh.const_data_ptr<float>();
  p.order = order.const_data_ptr<int64_t>();
  p.starts = starts.const_data_ptr<int64_t>();
  p.gradient = result.mutable_data_ptr<float>();
  p.vocabulary = result.size(0);
  p.d = to_int32(dh.size(1));
  check_launch(launch_embedding_gradient(p, current_stream()), "embedding_gradient");
  return result;
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("embedding_gradient", gradient);
}

}  // namespace
}  // namespace gca::cuda
