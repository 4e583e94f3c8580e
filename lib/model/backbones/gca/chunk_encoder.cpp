#include "lib/model/backbones/gca/chunk_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "kernels/grouped_cross_attention/grouped_cross_attention.h"
#include "kernels/rotary/rotary.h"
#include "lib/model/layers/recompute.h"
#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

/// Full attention inside each chunk is grouped cross-attention in which every chunk reads itself alone with
/// weight 1.
at::Tensor attention_inside_chunks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t N = q.size(0);  // chunks; q, k, v (N, S, H, dh)
  const int64_t S = q.size(1);
  const at::TensorOptions plain = q.options().requires_grad(false);
  const at::ScalarType weight_type = wide_type(q);
  const at::Tensor itself = at::arange(N, plain.dtype(at::kInt)).view({1, N, 1});
  const at::Tensor weight = at::ones({1, N, 1}, plain.dtype(weight_type));
  const kernels::ReadingLayout layout{.chunk_size = S, .first_offset = 0};
  return kernels::grouped_cross_attention(q.reshape({1, N * S, q.size(2), q.size(3)}), k.unsqueeze(0),
                                          v.unsqueeze(0), itself, weight, layout,
                                          1.0 / std::sqrt(static_cast<double>(q.size(3))),
                                          /*softmax_one=*/false);
}

/// One bidirectional layer over chunks (N, S, d).
Residual encode_layer(const DecoderLayer& layer, const Residual& in, const ModelConfig& config) {
  const at::ScalarType compute = layer.attn.wq.compute_dtype;
  const auto [x, normalised] = normalise(in, layer.attn_norm, compute);
  const int64_t N = x.size(0);
  const int64_t S = x.size(1);
  const std::vector<at::Tensor> qkv =
      project_each(normalised, {&layer.attn.wq, &layer.attn.wk, &layer.attn.wv});
  const std::vector<int64_t> shape = {N, S, config.n_heads, config.head_dim()};
  const at::Tensor q = kernels::rotary(qkv[0].view(shape), config.rope_theta);
  const at::Tensor k = kernels::rotary(qkv[1].view(shape), config.rope_theta);
  const at::Tensor out = attention_inside_chunks(q, k, qkv[2].view(shape));
  const at::Tensor update = project(out.reshape({N, S, config.d_model}), layer.attn.wo);
  const auto [a, m] = normalise({x, update}, layer.mlp_norm, compute);
  return {a, mlp(layer.mlp, m)};
}

}  // namespace

ChunkEncoder ChunkEncoder::claim(WeightBuilder& builder, const ModelConfig& config) {
  ChunkEncoder encoder;
  const int64_t d = config.d_model;
  builder.begin_group(WeightGroup::encoder);
  encoder.in_norm = {builder.norm("enc.in_norm", d), config.norm_eps};
  for (int64_t i = 0; i < config.n_encoder_layers; ++i) {
    DecoderLayer layer = DecoderLayer::claim(builder, "enc." + std::to_string(i), config);
    layer.attn_norm.eps = config.encoder_norm_eps;
    layer.mlp_norm.eps = config.encoder_norm_eps;
    encoder.layers.push_back(layer);
  }
  encoder.out_norm = {builder.norm("enc.out_norm", d), config.encoder_norm_eps};
  builder.begin_group(WeightGroup::memory);
  encoder.wk = builder.matrix("mem.wk", config.n_kv_heads * config.head_dim(), d);
  encoder.wv = builder.matrix("mem.wv", config.n_kv_heads * config.head_dim(), d);
  return encoder;
}

EncodedChunks ChunkEncoder::forward(const at::Tensor& h_low,
                                    const std::shared_ptr<const ModelConfig>& shared_config,
                                    bool recompute_activations) const {
  const ModelConfig& config = *shared_config;
  const int64_t B = h_low.size(0);
  const int64_t S = config.chunk_size;
  const int64_t c = h_low.size(1) / S;
  const at::ScalarType residual = h_low.scalar_type();
  Residual x{in_norm(h_low, residual).view({B * c, S, config.d_model}), {}};
  for (const DecoderLayer& layer : layers) {
    if (recompute_activations) {
      const auto run = [&layer, shared_config](const std::vector<at::Tensor>& in) {
        return encode_layer(layer, {in[0], {}}, *shared_config).sum();
      };
      x = {recompute(run, {x.h}), {}};
    } else {
      x = encode_layer(layer, x, config);
    }
  }
  EncodedChunks chunks;
  chunks.encoded = normalise(x, out_norm, residual).y.view({B, c, S, config.d_model});
  chunks.landmarks = chunks.encoded.select(2, S - 1).contiguous();
  const at::Tensor text = chunks.encoded.narrow(2, 0, S - 1).to(wk.compute_dtype);
  const std::vector<int64_t> shape = {B, c, S - 1, config.n_kv_heads, config.head_dim()};
  const std::vector<at::Tensor> both = project_each(text, {&wk, &wv});
  chunks.keys = both[0].view(shape);
  chunks.values = both[1].view(shape);
  return chunks;
}

}  // namespace gca::model
