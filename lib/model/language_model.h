#pragma once
// The Differentiable Retrieval-based Transformer (arXiv 2410.01651): lower decoder, chunk encoder, retrieval,
// upper decoder in groups. One forward path serves training (one segment, empty state), prefill (long
// segments) and decoding (segments of one position), so the paths cannot disagree.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lib/model/backbones/gca/chunk_encoder.h"
#include "lib/model/backbones/gca/upper_layer.h"
#include "lib/model/decoding_step.h"
#include "lib/model/drt_state.h"
#include "lib/model/forward_options.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/layers/weight.h"
#include "lib/model/model_config.h"

namespace gca {

/// Loss of a segment.
struct LossResult {
  at::Tensor mean;        ///< () float32: mean over targets >= 0, differentiable
  at::Tensor per_target;  ///< (B, n) float32, 0 where there is no target; not differentiable
};

class LanguageModel {
 public:
  /// Weights are allocated, not initialised. compute_dtype is kFloat, kBFloat16, or kDouble (tests);
  /// kBFloat16 alone off the CPU (lib/device/open_device.h).
  LanguageModel(ModelConfig config, at::ScalarType compute_dtype, at::Device device = at::kCPU);

  const ModelConfig& config() const { return config_; }
  at::ScalarType compute_dtype() const { return compute_dtype_; }
  /// Where weights, states and results live.
  at::Device device() const { return slopes_.device(); }

  /// All weights, in the documented order.
  std::vector<Weight>& weights() { return weights_; }
  const std::vector<Weight>& weights() const { return weights_; }
  int64_t parameter_count() const;
  /// Useful FLOPs of one text position in the forward pass at a context of T text tokens (2 per multiply-add;
  /// landmarks and recomputation not counted); training costs three times as much.
  double forward_flops_per_token(int64_t context) const;
  /// Bytes that decoding one text position after a past of T text tokens must read: weights once, the
  /// windows' keys and values, the K chunks of every upper layer; the encoder and the int8 copies of the
  /// landmarks once a chunk.
  double decoding_bytes_per_token(int64_t context) const;

  /// Draws every weight from (seed, weight's place): normal(0, init_std), norms 1. Does not depend on
  /// threads.
  void initialise(uint64_t seed);
  /// Copies masters into the compute copies. Call after masters change.
  void refresh_compute_weights();
  /// lambda of h' = a + lambda o + MLP(m), for schedules; also in config().
  void set_residual_blend(double blend) { config_.residual_blend = blend; }
  void set_gumbel_scale(double scale) { config_.gumbel_scale = scale; }
  void set_window_size(int64_t window) { config_.window_size = window; }
  /// No weight depends on S: a model may learn with short chunks first.
  void set_chunk_size(int64_t chunk_size) { config_.chunk_size = chunk_size; }
  void set_chunk_top_k(int64_t chunk_top_k) { config_.chunk_top_k = chunk_top_k; }

  /// Runs n positions after `state` and advances it. ids (B, n) int64, landmarks included
  /// (lib/data/chunk_layout.h), on any device. Returns hidden states after the final norm, (B, n, d), compute
  /// dtype; nothing with options.memory_only. With gradients enabled the state must be empty and is of no use
  /// afterwards: a gradient does not cross segments.
  at::Tensor forward(const at::Tensor& ids, DrtState& state, const ForwardOptions& options) const;

  /// (.., d) -> (.., V) float32 (float64 when the model is).
  at::Tensor logits(const at::Tensor& hidden) const;

  /// Cross-entropy of hidden (B, n, d) against targets (B, n) int64, on any device, negative where there is
  /// none; never holds the full logits.
  LossResult loss(const at::Tensor& hidden, const at::Tensor& targets) const;

 private:
  /// h_low of embedded tokens (B, n, d).
  at::Tensor run_lower(const at::Tensor& embedded, DrtState& state, const ForwardOptions& options) const;
  at::Tensor decode_one(const DecodingLayers& parts, const at::Tensor& ids, DrtState& state) const;
  void leave_out_upper(DrtState& state) const;
  void close_chunks(const at::Tensor& h_low, DrtState& state, const ForwardOptions& options) const;
  Residual run_group(int64_t group, const at::Tensor& h_in, int64_t first_layer, DrtState& state,
                     const ForwardOptions& options) const;

  ModelConfig config_;
  at::ScalarType compute_dtype_;
  at::Tensor slopes_;  // (H)
  std::vector<Weight> weights_;

  Weight tok_emb_;  // (V, d), also the output projection
  std::vector<DecoderLayer> lower_;
  ChunkEncoder encoder_;
  std::vector<Norm> query_norms_;       // one a group
  std::vector<UpperLayer> upper_;       // with retrieval
  std::vector<DecoderLayer> baseline_;  // the upper decoder of the sliding-window baseline
  Norm out_norm_;
};

/// model.safetensors and config.json of a checkpoint folder. The former also tells, in its metadata, which
/// config.json and which tokenizer (a fingerprint, may be empty) it was saved with.
void save_model(const LanguageModel& model, const std::string& folder,
                const std::string& tokenizer_fingerprint = "");

/// Error(usage) when the weights of a checkpoint are damaged, or were not saved with the config.json or the
/// tokenizer.model beside them. A checkpoint of another program tells none of it, and passes.
void require_sound_model_files(const std::string& folder);

/// Throws Error(usage) when a file is missing, damaged, or of other shapes than its config.json says.
LanguageModel load_model(const std::string& folder, at::ScalarType compute_dtype,
                         at::Device device = at::kCPU);

}  // namespace gca
