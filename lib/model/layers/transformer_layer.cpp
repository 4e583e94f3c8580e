#include "lib/model/layers/transformer_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "kernels/swiglu/swiglu.h"
#include "lib/parallel/differentiable.h"

namespace gca::model {

at::Tensor Norm::operator()(const at::Tensor& x, at::ScalarType out_dtype) const {
  return kernels::rms_norm(x, weight.master, eps, out_dtype);
}

at::Tensor Residual::sum() const {
  return update.defined() ? h + update : h;
}

Normalised normalise(const Residual& residual, const Norm& norm, at::ScalarType out_dtype) {
  if (!residual.update.defined()) return {residual.h, norm(residual.h, out_dtype)};
  auto [h, y] = kernels::add_rms_norm(residual.h, residual.update, norm.weight.master, norm.eps, out_dtype);
  return {h, y};
}

at::Tensor project(const at::Tensor& x, const Weight& weight) {
  return kernels::linear(x, {weight.master, weight.compute, weight.int8});
}

std::vector<at::Tensor> project_each(const at::Tensor& x, std::initializer_list<const Weight*> weights) {
  std::vector<kernels::LinearWeight> list;
  for (const Weight* weight : weights) list.push_back({weight->master, weight->compute, weight->int8});
  return kernels::linear_each(x, list);
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

at::Tensor make_slopes(const WeightBuilder& builder, const ModelConfig& config) {
  return at::tensor(config.slopes(), at::kDouble).to(builder.device(), builder.master_dtype());
}

at::Tensor mlp(const MlpWeights& weights, const at::Tensor& x) {
  const std::vector<at::Tensor> both = project_each(x, {&weights.w_gate, &weights.w_up});
  return project(kernels::swiglu(both[0], both[1]), weights.w_down);
}

Qkv project_qkv(const AttentionWeights& weights, const at::Tensor& x, const ModelConfig& config) {
  const std::vector<at::Tensor> qkv = project_each(x, {&weights.wq, &weights.wk, &weights.wv});
  const std::vector<int64_t> shape = {x.size(0), x.size(1), config.n_heads, config.head_dim()};
  return {qkv[0].view(shape), qkv[1].view(shape), qkv[2].view(shape)};
}

double score_scale(const ModelConfig& config) {
  return 1.0 / std::sqrt(static_cast<double>(config.head_dim()));
}

at::Tensor window_mix(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& slopes,
                      const ModelConfig& config, WindowCache* window, parallel::Communicator* text_ranks) {
  auto [q, k, v] = project_qkv(weights, x, config);
  if (window != nullptr) {
    const WindowCache::Rows rows = window->append(k, v, config.window_size);  // (B, P + n, H, dh)
    k = rows.keys;
    v = rows.values;
  } else if (text_ranks != nullptr) {
    k = at::cat({parallel::left_rows(k, config.window_size, *text_ranks), k}, 1);
    v = at::cat({parallel::left_rows(v, config.window_size, *text_ranks), v}, 1);
  }
  const at::Tensor out =
      kernels::sliding_window_attention(q, k, v, slopes, config.window_size, score_scale(config));
  return out.reshape({x.size(0), x.size(1), config.d_model});
}

at::Tensor window_attention(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& slopes,
                            const ModelConfig& config, WindowCache* window,
                            parallel::Communicator* text_ranks) {
  return project(window_mix(weights, x, slopes, config, window, text_ranks), weights.wo);
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

Residual DecoderLayer::forward(const Residual& in, const Mix& mix) const {
  const at::ScalarType compute = attn.wo.compute_dtype;
  const auto [h, x] = normalise(in, attn_norm, compute);
  const auto [a, m] = normalise({h, project(mix(x), attn.wo)}, mlp_norm, compute);
  return {a, gca::model::mlp(mlp, m)};
}

}  // namespace gca::model
