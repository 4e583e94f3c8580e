#include "lib/model/upper_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

namespace gca {

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

UpperLayerOutput UpperLayer::forward(const at::Tensor& h, const at::Tensor& slopes, const Reading& reading,
                                     const ModelConfig& config, WindowCache* window) const {
  const int64_t B = h.size(0);
  const int64_t n = h.size(1);
  const int64_t dh = config.head_dim();
  const at::ScalarType compute = attn.wq.compute.scalar_type();
  UpperLayerOutput out;
  out.a = h + window_attention(attn, attn_norm(h, compute), slopes, config, window);
  const at::Tensor q = project(gca_norm(out.a, compute), gca_wq).view({B, n, config.n_heads, dh});
  const kernels::ReadingLayout layout{.chunk_size = config.chunk_size, .first_offset = reading.first_offset};
  const at::Tensor read = kernels::grouped_cross_attention(
      q, reading.chunks.keys, reading.chunks.values, reading.chunks.idx, reading.weights, layout,
      1.0 / std::sqrt(static_cast<double>(dh)), config.softmax_off_by_one);
  out.o = project(read.reshape({B, n, config.d_model}), gca_wo);
  const at::Tensor joined = out.a + out.o;
  const at::Tensor update = gca::mlp(mlp, mlp_norm(joined, compute));
  if (config.residual_blend == 0.0)
    out.h = out.a + update;
  else if (config.residual_blend == 1.0)
    out.h = joined + update;
  else
    out.h = out.a + config.residual_blend * out.o + update;
  return out;
}

}  // namespace gca
