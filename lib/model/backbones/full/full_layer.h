#pragma once
// A decoder layer of a Llama: pre-norm attention whose rows a cache keeps, and an MLP, each with biases where
// the model has them.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "lib/model/layers/transformer_layer.h"

namespace gca::model {

/// q (B, n, H, dh), k and v (B, n, H_kv, dh), not rotated -> (B, n, H, dh).
using Attend = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;

/// a = h + W_o Attend( RMSNorm(h) )      h' = a + MLP( RMSNorm(a) )
struct FullLayer {
  Norm attn_norm;
  AttentionWeights attn;       ///< wq (H dh, d), wk and wv (H_kv dh, d), wo (d, H dh)
  AttentionWeights attn_bias;  ///< of each; without masters where there is none
  Norm mlp_norm;
  MlpWeights mlp;
  MlpWeights mlp_bias;  ///< of each; without masters where there is none

  static FullLayer claim(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config);
  Residual forward(const Residual& in, const ModelConfig& config, const Attend& attend) const;
};

}  // namespace gca::model
