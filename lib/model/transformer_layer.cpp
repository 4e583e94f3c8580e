#include "lib/model/transformer_layer.h"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "kernels/swiglu/swiglu.h"

namespace gca {

at::Tensor Norm::operator()(const at::Tensor& x, at::ScalarType out_dtype) const {
  return kernels::rms_norm(x, weight.master, eps, out_dtype);
}

at::Tensor project(const at::Tensor& x, const Weight& weight) {
  return kernels::linear(x, weight.master, weight.compute);
}

AttentionWeights claim_attention(WeightBuilder& builder, const std::string& prefix,
                                 const ModelConfig& config) {
  const int64_t d = config.d_model;
  AttentionWeights weights;
  weights.wq = builder.matrix(prefix + ".wq", d, d);
  weights.wk = builder.matrix(prefix + ".wk", d, d);
  weights.wv = builder.matrix(prefix + ".wv", d, d);
  weights.wo = builder.matrix(prefix + ".wo", d, d);
  return weights;
}

MlpWeights claim_mlp(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config) {
  const int64_t d = config.d_model;
  const int64_t d_ff = config.ff_size();
  MlpWeights weights;
  weights.w_gate = builder.matrix(prefix + ".w_gate", d_ff, d);
  weights.w_up = builder.matrix(prefix + ".w_up", d_ff, d);
  weights.w_down = builder.matrix(prefix + ".w_down", d, d_ff);
  return weights;
}

at::Tensor mlp(const MlpWeights& weights, const at::Tensor& x) {
  return project(kernels::swiglu(project(x, weights.w_gate), project(x, weights.w_up)), weights.w_down);
}

at::Tensor window_attention(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& slopes,
                            const ModelConfig& config, WindowCache* window) {
  const int64_t B = x.size(0);
  const int64_t n = x.size(1);
  const int64_t dh = config.head_dim();
  const auto heads = [&](const Weight& weight) {
    return project(x, weight).view({B, n, config.n_heads, dh});
  };
  const at::Tensor q = heads(weights.wq);  // (B, n, H, dh)
  at::Tensor k = heads(weights.wk);
  at::Tensor v = heads(weights.wv);
  if (window != nullptr) {
    const WindowCache::Rows rows = window->append(k, v, config.window_size);  // (B, P + n, H, dh)
    k = rows.keys;
    v = rows.values;
  }
  const at::Tensor out = kernels::sliding_window_attention(q, k, v, slopes, config.window_size,
                                                           1.0 / std::sqrt(static_cast<double>(dh)));
  return project(out.reshape({B, n, config.d_model}), weights.wo);
}

DecoderLayer DecoderLayer::claim(WeightBuilder& builder, const std::string& prefix,
                                 const ModelConfig& config) {
  DecoderLayer layer;
  layer.attn_norm = {builder.norm(prefix + ".attn_norm", config.d_model), config.norm_eps};
  layer.attn = claim_attention(builder, prefix + ".attn", config);
  layer.mlp_norm = {builder.norm(prefix + ".mlp_norm", config.d_model), config.norm_eps};
  layer.mlp = claim_mlp(builder, prefix + ".mlp", config);
  return layer;
}

at::Tensor DecoderLayer::forward(const at::Tensor& h, const at::Tensor& slopes, const ModelConfig& config,
                                 WindowCache* window) const {
  const at::ScalarType compute = attn.wq.compute.scalar_type();
  const at::Tensor a = h + window_attention(attn, attn_norm(h, compute), slopes, config, window);
  return a + gca::mlp(mlp, mlp_norm(a, compute));
}

}  // namespace gca
