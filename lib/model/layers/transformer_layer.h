#pragma once
// Parts of a pre-norm Llama layer: self-attention over a sliding window, SwiGLU MLP, and the lower decoder's
// layer made of them. No bias anywhere. The residual stream keeps the masters' type (float32); products run
// in the compute type.

#include <ATen/core/Tensor.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "lib/model/layers/weight.h"
#include "lib/model/layers/window_cache.h"
#include "lib/model/model_config.h"
#include "lib/parallel/communicator.h"

namespace gca::model {

/// RMSNorm with its weight (d).
struct Norm {
  Weight weight;
  double eps = 1e-5;

  /// (.., d) -> (.., d) in `out_dtype`.
  at::Tensor operator()(const at::Tensor& x, at::ScalarType out_dtype) const;
};

/// The residual stream between two layers: h + update, whose sum the norm that reads it makes on the way.
struct Residual {
  at::Tensor h;       ///< (B, n, d), masters' type
  at::Tensor update;  ///< (B, n, d), compute type: what the last layer adds; undefined: nothing

  /// h + update.
  at::Tensor sum() const;
};

/// The summed residual and its norm in `out_dtype`, (B, n, d) each.
struct Normalised {
  at::Tensor h, y;
};
Normalised normalise(const Residual& residual, const Norm& norm, at::ScalarType out_dtype);

/// y = x W^T in the compute type. Int8 weights only without gradients.
at::Tensor project(const at::Tensor& x, const Weight& weight);
/// The same for several weights of one input.
std::vector<at::Tensor> project_each(const at::Tensor& x, std::initializer_list<const Weight*> weights);

struct AttentionWeights {
  Weight wq, wk, wv, wo;  // (d, d)
};

struct MlpWeights {
  Weight w_gate, w_up;  // (d_ff, d)
  Weight w_down;        // (d, d_ff)
};

AttentionWeights claim_attention(WeightBuilder& builder, const std::string& prefix,
                                 const ModelConfig& config);
MlpWeights claim_mlp(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config);

/// ALiBi's slopes (H) of a model, masters' type.
at::Tensor make_slopes(const WeightBuilder& builder, const ModelConfig& config);

/// SwiGLU: w_down( silu(w_gate x) * w_up x ); x (.., d) -> (.., d).
at::Tensor mlp(const MlpWeights& weights, const at::Tensor& x);

/// Queries, keys and values of attention: (B, n, H, dh) each, compute type.
struct Qkv {
  at::Tensor q, k, v;
};
/// Of x (B, n, d), already normalised.
Qkv project_qkv(const AttentionWeights& weights, const at::Tensor& x, const ModelConfig& config);

/// Factor on the scores of attention: 1/sqrt(dh).
double score_scale(const ModelConfig& config);

/// Causal sliding-window attention with ALiBi over x (B, n, d), already normalised -> (B, n, d) before W_o,
/// compute type. With a `window` the keys in it are read as well, and it is replaced by the last W of all
/// (gradients off). With `text_ranks` (ForwardOptions::text_ranks) those of the ranks to the left are.
at::Tensor window_mix(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& slopes,
                      const ModelConfig& config, WindowCache* window,
                      parallel::Communicator* text_ranks = nullptr);
/// The same after W_o.
at::Tensor window_attention(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& slopes,
                            const ModelConfig& config, WindowCache* window,
                            parallel::Communicator* text_ranks = nullptr);

/// What a layer reads: x (B, n, d), normalised, compute type -> (B, n, d) before W_o.
using Mix = std::function<at::Tensor(const at::Tensor& x)>;

/// A decoder layer:
///   a = h + W_o Mix( RMSNorm(h) )      h' = a + MLP( RMSNorm(a) )
struct DecoderLayer {
  Norm attn_norm;
  AttentionWeights attn;
  Norm mlp_norm;
  MlpWeights mlp;

  static DecoderLayer claim(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config);
  Residual forward(const Residual& in, const Mix& mix) const;
};

}  // namespace gca::model
