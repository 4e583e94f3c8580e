#include "lib/model/backbones/full/full_layer.h"

#include <ATen/TensorOperators.h>

#include "kernels/swiglu/swiglu.h"

namespace gca::model {
namespace {

at::Tensor with_bias(const at::Tensor& y, const Weight& bias) {
  return bias.master.defined() ? y + bias.master.to(y.scalar_type()) : y;
}

}  // namespace

FullLayer FullLayer::claim(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config) {
  const int64_t d = config.d_model, d_ff = config.ff_size();
  const int64_t query = config.n_heads * config.head_dim(), kv = config.n_kv_heads * config.head_dim();
  const auto claim_pair = [&](const std::string& name, int64_t out, int64_t in, bool biased, Weight& weight,
                              Weight& bias) {
    weight = builder.matrix(prefix + name, out, in);
    if (biased) bias = builder.bias(prefix + name + "_bias", out);
  };
  FullLayer layer;
  layer.attn_norm = {builder.norm(prefix + ".attn_norm", d), config.norm_eps};
  const bool biased = config.attention_bias;
  claim_pair(".attn.wq", query, d, biased, layer.attn.wq, layer.attn_bias.wq);
  claim_pair(".attn.wk", kv, d, biased, layer.attn.wk, layer.attn_bias.wk);
  claim_pair(".attn.wv", kv, d, biased, layer.attn.wv, layer.attn_bias.wv);
  claim_pair(".attn.wo", d, query, biased, layer.attn.wo, layer.attn_bias.wo);
  layer.mlp_norm = {builder.norm(prefix + ".mlp_norm", d), config.norm_eps};
  claim_pair(".mlp.w_gate", d_ff, d, config.mlp_bias, layer.mlp.w_gate, layer.mlp_bias.w_gate);
  claim_pair(".mlp.w_up", d_ff, d, config.mlp_bias, layer.mlp.w_up, layer.mlp_bias.w_up);
  claim_pair(".mlp.w_down", d, d_ff, config.mlp_bias, layer.mlp.w_down, layer.mlp_bias.w_down);
  return layer;
}

Residual FullLayer::forward(const Residual& in, const ModelConfig& config, const Attend& attend) const {
  const at::ScalarType compute = attn.wq.compute_dtype;
  const auto [h, x] = normalise(in, attn_norm, compute);
  const std::vector<at::Tensor> qkv = project_each(x, {&attn.wq, &attn.wk, &attn.wv});
  const auto heads_of = [&, &x = x](const at::Tensor& y, const Weight& bias, int64_t heads) {
    return with_bias(y, bias).view({x.size(0), x.size(1), heads, config.head_dim()});
  };
  const at::Tensor read = attend(heads_of(qkv[0], attn_bias.wq, config.n_heads),
                                 heads_of(qkv[1], attn_bias.wk, config.n_kv_heads),
                                 heads_of(qkv[2], attn_bias.wv, config.n_kv_heads));
  const at::Tensor mixed =
      with_bias(project(read.reshape({x.size(0), x.size(1), -1}), attn.wo), attn_bias.wo);
  const auto [a, m] = normalise({h, mixed}, mlp_norm, compute);
  const std::vector<at::Tensor> both = project_each(m, {&mlp.w_gate, &mlp.w_up});
  const at::Tensor gated =
      kernels::swiglu(with_bias(both[0], mlp_bias.w_gate), with_bias(both[1], mlp_bias.w_up));
  return {a, with_bias(project(gated, mlp.w_down), mlp_bias.w_down)};
}

}  // namespace gca::model
