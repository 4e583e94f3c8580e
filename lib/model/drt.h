#pragma once
// The Differentiable Retrieval-based Transformer: lower decoder, chunk encoder, retrieval, upper decoder in groups.
// One forward path serves training (one segment, empty state), prefill (long segments) and decoding (segments of one
// position), so the paths cannot disagree.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "lib/model/drt_state.h"
#include "lib/model/model_config.h"

namespace gca {

/// A weight: the fp32 master that is trained, and the copy that products read (the same tensor in fp32).
/// The copy is made once an optimizer step, by Drt::refresh_compute_weights().
struct Weight {
  std::string name;    ///< as in model.safetensors, e.g. "lower.0.attn.wq"
  at::Tensor master;   ///< float32 (float64 in tests), requires_grad
  at::Tensor compute;  ///< compute dtype; matrices only, norms and embedding rows are read from master
};

/// Which chunks are read; all but `learned` are for evaluation.
enum class Retriever {
  learned,  ///< top K by landmark score
  random,   ///< K distinct earlier chunks, uniformly; weights by their own scores
  recent,   ///< the K most recent candidates; weights by their own scores
  none,     ///< nothing is read: o = 0
};

/// Called with the name and value of each intermediate result ("lower.0", "h_low", "enc_out", "landmark", "chunk_k",
/// "chunk_v", "r.g", "idx.g", "w.g", "upper.j.a", "upper.j.o", "upper.j", "h_group.g"); shapes as in
/// tests/golden/README.md.
using Observer = std::function<void(const std::string& name, const at::Tensor& value)>;

struct ForwardOptions {
  Retriever retriever = Retriever::learned;
  bool recompute_activations = false;  ///< training: keep layer inputs only, run each layer again in backward
  /// Gumbel noise of the choice. Explicit noise (G, B, C, C) wins over a seed; none of both: no noise.
  at::Tensor gumbel;
  bool draw_gumbel = false;
  uint64_t seed = 0;        ///< of drawn noise and of Retriever::random
  uint64_t step = 0;        ///< optimizer step (and micro-batch) the noise belongs to
  int64_t batch_offset = 0; ///< number of this batch's first row within the step
  Observer observe;         ///< may be empty
};

/// Loss of a segment.
struct LossResult {
  at::Tensor mean;        ///< () float32: mean over targets >= 0, differentiable
  at::Tensor per_target;  ///< (B, n) float32, 0 where there is no target; not differentiable
};

class Drt {
 public:
  /// Weights are allocated, not initialised. compute_dtype is kFloat, kBFloat16, or kDouble (tests).
  Drt(ModelConfig config, at::ScalarType compute_dtype);

  const ModelConfig& config() const { return config_; }
  at::ScalarType compute_dtype() const { return compute_dtype_; }

  /// All weights, in the documented order.
  std::vector<Weight>& weights() { return weights_; }
  const std::vector<Weight>& weights() const { return weights_; }
  int64_t parameter_count() const;
  /// Useful FLOPs of one text position in the forward pass at a context of T text tokens (2 per multiply-add; landmarks and
  /// recomputation not counted); training costs three times as much.
  double forward_flops_per_token(int64_t context) const;

  /// Draws every weight from (seed, weight's place): normal(0, init_std), norms 1. Does not depend on threads.
  void initialise(uint64_t seed);
  /// Copies masters into the compute copies. Call after masters change.
  void refresh_compute_weights();
  /// lambda of h' = a + lambda o + MLP(m), for schedules; also in config().
  void set_residual_blend(double blend) { config_.residual_blend = blend; }
  void set_gumbel_scale(double scale) { config_.gumbel_scale = scale; }
  void set_window_size(int64_t window) { config_.window_size = window; }

  /// Runs n positions after `state` and advances it. ids (B, n) int64, landmarks included (lib/data/chunk_layout.h).
  /// Returns hidden states after the final norm, (B, n, d), compute dtype.
  at::Tensor forward(const at::Tensor& ids, DrtState& state, const ForwardOptions& options) const;

  /// (.., d) -> (.., V) float32 (float64 when the model is).
  at::Tensor logits(const at::Tensor& hidden) const;

  /// Cross-entropy of hidden (B, n, d) against targets (B, n) int64, negative where there is none; never holds the full
  /// logits.
  LossResult loss(const at::Tensor& hidden, const at::Tensor& targets) const;

 private:
  ModelConfig config_;
  at::ScalarType compute_dtype_;
  std::vector<Weight> weights_;
};

/// model.safetensors and config.json of a checkpoint folder.
void save_model(const Drt& model, const std::string& folder);
/// Throws Error(usage) when a file is missing, damaged, or of other shapes than its config.json says.
Drt load_model(const std::string& folder, at::ScalarType compute_dtype);

}  // namespace gca
