#include "lib/model/backbones/gca/upper_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

namespace gca::model {

UpperLayer UpperLayer::claim(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config) {
  const int64_t d = config.d_model;
  UpperLayer layer;
  layer.attn_norm = {builder.norm(prefix + ".attn_norm", d), config.norm_eps};
  layer.attn = claim_attention(builder, prefix + ".attn", config);
  layer.gca_norm = {builder.norm(prefix + ".gca_norm", d), config.norm_eps};
  layer.gca_wq = builder.matrix(prefix + ".gca.wq", d, d);
  layer.gca_wo = builder.matrix(prefix + ".gca.wo", d, d);
  layer.mlp_norm = {builder.norm(prefix + ".mlp_norm", d), config.norm_eps};
  layer.mlp = claim_mlp(builder, prefix + ".mlp", config);
  return layer;
}

UpperLayerOutput UpperLayer::forward(const Residual& in, const at::Tensor& slopes, const Reading& reading,
                                     const ModelConfig& config, WindowCache* window,
                                     parallel::Communicator* text_ranks) const {
  const int64_t B = in.h.size(0);
  const int64_t n = in.h.size(1);
  const int64_t dh = config.head_dim();
  const at::ScalarType compute = attn.wq.compute_dtype;
  const auto [h, x] = normalise(in, attn_norm, compute);
  const auto [a, gca_in] =
      normalise({h, window_attention(attn, x, slopes, config, window, text_ranks)}, gca_norm, compute);
  const at::Tensor q = project(gca_in, gca_wq).view({B, n, config.n_heads, dh});
  const kernels::ReadingLayout layout{.chunk_size = config.chunk_size, .first_offset = reading.first_offset};
  const at::Tensor read = kernels::grouped_cross_attention(
      q, reading.chunks.keys, reading.chunks.values, reading.chunks.idx, reading.weights, layout,
      1.0 / std::sqrt(static_cast<double>(dh)), config.softmax_off_by_one);
  const at::Tensor o = project(read.reshape({B, n, config.d_model}), gca_wo);
  const auto [joined, m] = normalise({a, o}, mlp_norm, compute);
  UpperLayerOutput out{{a, gca::model::mlp(mlp, m)}, a, o};
  if (config.residual_blend == 1.0)
    out.h.h = joined;
  else if (config.residual_blend != 0.0)
    out.h.h = a + config.residual_blend * o;
  return out;
}

}  // namespace gca::model
