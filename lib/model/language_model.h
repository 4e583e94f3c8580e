#pragma once
// A language model: embedding, backbone (backbone.h), final norm, logits and loss. forward()
// serves training (one segment, a new past), prefill (long segments) and decoding (segments of one position). On
// a CPU one position may take a second path, Backbone::run_row, which tests hold to the first.

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/backbone.h"
#include "lib/model/forward_options.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/layers/weight.h"
#include "lib/model/model_config.h"
#include "lib/model/model_cost.h"

namespace gca::model {

/// Loss of a segment.
struct LossResult {
  at::Tensor mean;        ///< () float32: mean over targets >= 0, differentiable
  at::Tensor per_target;  ///< (B, n) float32, 0 where there is no target; not differentiable
};

class LanguageModel {
 public:
  /// Weights are allocated, not initialised. compute_dtype is kFloat, kBFloat16, or kDouble (tests);
  /// kBFloat16 alone off the CPU (lib/device/open_device.h).
  /// WeightDtype::int8 is for float32 and bf16 on the CPU; such a model has no gradients, nor has one without
  /// masters.
  LanguageModel(ModelConfig config, at::ScalarType compute_dtype, at::Device device = at::kCPU,
                WeightDtype weight_dtype = WeightDtype::compute, Masters masters = Masters::kept);

  const ModelConfig& config() const { return *config_; }
  at::ScalarType compute_dtype() const { return compute_dtype_; }
  WeightDtype weight_dtype() const {
    return tok_emb_.int8.defined() ? WeightDtype::int8 : WeightDtype::compute;
  }
  /// Where weights, pasts and results live.
  at::Device device() const { return tok_emb_.master.device(); }

  /// All weights, in the documented order.
  std::vector<Weight>& weights() { return weights_; }
  const std::vector<Weight>& weights() const { return weights_; }
  /// Numbers that are trained.
  int64_t parameter_count() const;
  /// At a context of so many text tokens.
  ModelCost cost(int64_t context) const { return model_cost(*config_, context); }
  /// What decoding a text token after so many must read, in the types of this model.
  double decoding_bytes_per_token(int64_t context) const;

  /// Draws every weight from (seed, weight's place): normal(0, init_std), norms 1. Does not depend on
  /// threads.
  void initialise(uint64_t seed);
  /// Makes what products read from the masters. Call after masters change.
  void refresh_compute_weights();

  /// The past before the first token of a text; at a `position` as Backbone::begin() says.
  std::unique_ptr<Past> begin(int64_t position = 0) const { return backbone_->begin(position); }

  /// Notes of a training step, for ForwardOptions::step_notes of its forward passes and for end_step() after
  /// its update. Null where the backbone needs none.
  std::shared_ptr<StepNotes> begin_step() const { return backbone_->begin_step(); }
  void end_step(const ForwardOptions& options) {
    if (options.step_notes) backbone_->end_step(*options.step_notes, options);
  }

  /// Runs n positions after `past` and advances it. ids (B, n) int64, landmarks included
  /// (lib/data/chunk_layout.h), on any device. Returns hidden states after the final norm, (B, n, d), compute
  /// dtype; nothing with options.memory_only. With gradients enabled the past must be new and is of no use
  /// afterwards: a gradient does not cross segments.
  at::Tensor forward(const at::Tensor& ids, Past& past, const ForwardOptions& options) const;

  /// (.., d) -> (.., V) float32 (float64 when the model is).
  at::Tensor logits(const at::Tensor& hidden) const;

  /// Cross-entropy of hidden (B, n, d) against targets (B, n) int64, on any device, negative where there is
  /// none; never holds the full logits.
  LossResult loss(const at::Tensor& hidden, const at::Tensor& targets) const;

 private:
  /// Type of the residual stream and of logits.
  at::ScalarType wide_dtype() const { return compute_dtype_ == at::kDouble ? at::kDouble : at::kFloat; }
  /// The output projection (V, d).
  const Weight& output() const { return lm_head_ ? *lm_head_ : tok_emb_; }
  /// The same in the compute type.
  at::Tensor output_matrix() const;

  std::shared_ptr<const ModelConfig> config_;
  at::ScalarType compute_dtype_;
  std::vector<Weight> weights_;
  Weight tok_emb_;                 // (V, d), also the output projection where there is no lm_head
  std::optional<Weight> lm_head_;  // (V, d)
  std::unique_ptr<Backbone> backbone_;
  Norm out_norm_;
};

/// model.safetensors and config.json of a checkpoint folder. The former also records, in its metadata, which
/// config.json and which tokenizer (a fingerprint, may be empty) it was saved with.
void save_model(const LanguageModel& model, const std::string& folder,
                const std::string& tokenizer_fingerprint = "");
/// The same with a `config` in which settings that may change while a model is trained have other values.
void save_model(const LanguageModel& model, const ModelConfig& config, const std::string& folder,
                const std::string& tokenizer_fingerprint);

/// config.json of a checkpoint folder, ours or a Llama's (lib/model/llama). Throws Error(usage) when it is missing or damaged.
ModelConfig read_model_config(const std::string& folder);

/// Error(usage) when the weights of a checkpoint are damaged, or were not saved with the config.json or the
/// tokenizer.model beside them. A checkpoint of another program records none of it, and is accepted.
void require_sound_model_files(const std::string& folder);

/// Throws Error(usage) when a file is missing, damaged, or of other shapes than its config.json says. The
/// weights of a Llama (lib/model/llama) have no masters unless they are asked for.
LanguageModel load_model(const std::string& folder, at::ScalarType compute_dtype,
                         at::Device device = at::kCPU, WeightDtype weight_dtype = WeightDtype::compute,
                         Masters masters_of_llama = Masters::none);

}  // namespace gca::model
