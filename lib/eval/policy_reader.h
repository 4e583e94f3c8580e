#pragma once
// Texts read under a cache policy (lib/model/kv_cache): all before the answer as a prompt, the answer token by
// token, and what these steps cost.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/language_model.h"

namespace gca::eval {

/// What the steps took: tokens that a model reads alone, each to predict the next.
struct StepCost {
  int64_t steps = 0;
  double seconds = 0;         ///< logits included
  double prompt_seconds = 0;  ///< what was read before
  model::KvReads reads;
  int64_t cache_bytes = 0;               ///< the most that a text's cache took
  std::vector<int64_t> full_steps = {};  ///< by layer, those that read all; of recycled, else empty

  double ms_per_step() const;
  double bytes_per_step() const;
  /// Of the steps, over all layers; 1 where no layer may choose.
  double share_of_full_steps() const;

  StepCost& operator+=(const StepCost& other);
};

/// For another rank.
nlohmann::json to_json(const StepCost& cost);
StepCost step_cost_of(const nlohmann::json& json);

struct PolicyReaderOptions {
  model::KvPolicy policy;
  std::vector<int32_t> start_tokens = {};  ///< before every text
  int64_t segment_positions = 0;           ///< as in TextFeeder
  std::function<void()> progress = {};     ///< called while a prompt is read; may throw to stop
};

class PolicyReader {
 public:
  /// `model` must outlive it, and have a cache (self_attention full).
  PolicyReader(const model::LanguageModel& model, PolicyReaderOptions options)
      : model_(model), options_(std::move(options)) {}

  /// Logits (V) before each token of an answer.
  using Sink = std::function<void(const at::Tensor& logits)>;

  /// Reads `prompt`, whose last `question_tokens` (>= 1) ask for the answer, then all tokens of `answer` but the
  /// last, each alone.
  void read(std::span<const int32_t> prompt, int64_t question_tokens, std::span<const int32_t> answer,
            const Sink& sink);

  /// Summed over all texts.
  const StepCost& cost() const { return cost_; }
  /// Of the text that was read last.
  const StepCost& last_cost() const { return last_cost_; }
  /// Adds that of a text which another rank has read.
  void add_cost(const StepCost& cost) { cost_ += cost; }
  const model::KvPolicy& policy() const { return options_.policy; }

 private:
  const model::LanguageModel& model_;
  PolicyReaderOptions options_;
  StepCost cost_;
  StepCost last_cost_;
};

}  // namespace gca::eval
