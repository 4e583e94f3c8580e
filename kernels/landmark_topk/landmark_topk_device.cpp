// Noise, choice of chunks and search on a device: tensors to the kernels of landmark_topk_cuda.h. The scores
// of a search are the library's product: landmarks are float32, so that the choice is the CPU's.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <limits>

#include "kernels/common/cuda/device_tensor.h"
#include "kernels/landmark_topk/landmark_topk_cuda.h"

namespace gca::cuda {
namespace {

at::Tensor& gumbel_noise_(at::Tensor& noise, int64_t seed, int64_t step, int64_t group, int64_t batch_offset,
                          int64_t first_query) {
  const c10::DeviceGuard guard(noise.device());
  TORCH_CHECK(noise.is_contiguous() && noise.scalar_type() == at::kFloat,
              "gumbel_noise: noise is contiguous float32");
  GumbelNoiseParams p;
  p.at.seed = static_cast<uint64_t>(seed);
  p.at.step = static_cast<uint64_t>(step);
  p.at.group = to_int32(group);
  p.at.batch_offset = to_int32(batch_offset);
  p.at.first_query = to_int32(first_query);
  p.noise = noise.mutable_data_ptr<float>();
  p.batch = to_int32(noise.size(0));
  p.rows = to_int32(noise.size(1));
  p.chunks = to_int32(noise.size(2));
  if (noise.numel() > 0) check_launch(launch_gumbel_noise(p, current_stream()), "gumbel_noise");
  return noise;
}

at::Tensor topk(const at::Tensor& r_in, const std::optional<at::Tensor>& noise_in, int64_t first_query,
                int64_t K) {
  const c10::DeviceGuard guard(r_in.device());
  TORCH_CHECK(r_in.scalar_type() == at::kFloat, "landmark_topk: on a GPU r is float32, got ",
              r_in.scalar_type());
  const at::Tensor r = r_in.contiguous();
  const at::Tensor noise = noise_in.has_value() ? noise_in->contiguous() : at::Tensor();
  LandmarkTopkParams p;
  p.r = r.const_data_ptr<float>();
  if (noise.defined()) p.noise = noise.const_data_ptr<float>();
  p.batch = to_int32(r.size(0));
  p.rows = to_int32(r.size(1));
  p.chunks = to_int32(r.size(2));
  p.slots = to_int32(K);
  p.first_query = to_int32(first_query);
  TORCH_CHECK(K <= 32 && topk_segments(p.chunks) * K <= 4096, "landmark_topk: on a GPU K is at most 32, and ",
              "the segments of ", kTopkSegment, " chunks times K at most 4096; K is ", K, " for ", p.chunks,
              " chunks");
  at::Tensor idx = at::empty({p.batch, p.rows, K}, r.options().dtype(at::kInt));
  at::Tensor keys;
  if (topk_segments(p.chunks) > 1) {
    keys = at::empty({p.batch, p.rows, topk_segments(p.chunks), K}, r.options().dtype(at::kLong));
    p.keys = static_cast<uint64_t*>(keys.mutable_data_ptr());
  }
  p.idx = idx.mutable_data_ptr<int32_t>();
  if (r.numel() == 0) return idx.fill_(-1);
  check_launch(launch_landmark_topk(p, current_stream()), "landmark_topk");
  return idx;
}

std::tuple<at::Tensor, at::Tensor> search(const at::Tensor& query, at::TensorList landmarks,
                                          int64_t first_query, int64_t K, double scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor all = landmarks.size() == 1 ? landmarks[0] : at::cat(landmarks, 1);
  const at::Tensor r = at::matmul(query, all.transpose(1, 2)) * scale;
  const at::Tensor idx = topk(r, {}, first_query, K);
  const at::Tensor chosen = r.gather(-1, idx.clamp_min(0).to(at::kLong));
  const at::Tensor nothing = idx.lt(0).logical_or(chosen.isnan());
  return {idx, chosen.masked_fill(nothing, -std::numeric_limits<double>::infinity())};
}

TORCH_LIBRARY_IMPL(gca, GCA_DEVICE_KEY, m) {
  m.impl("gumbel_noise_", gumbel_noise_);
  m.impl("landmark_topk", topk);
  m.impl("landmark_search", search);
}

}  // namespace
}  // namespace gca::cuda
