#pragma once
// How fast a model trains, reads and writes: each measured on random text, repeated, and reported as a median.

#include <cstdint>
#include <optional>
#include <string>

#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/chunk_store.h"
#include "lib/profile/operator_profile.h"
#include "lib/train/settings/train_config.h"

namespace gca::bench {

struct SpeedSettings {
  int64_t context = 0;  ///< text tokens of a sequence; decoding: of the past
  int repeats = 5;      ///< measured runs, after one that is not
  uint64_t seed = 0;
  int64_t decoded_tokens = 0;                   ///< of one run of decoding
  profile::OperatorProfile* profile = nullptr;  ///< collects all measured runs; null: none
  std::optional<model::MemoryPlace> memory =
      {};  ///< of chunk memory; none: as TextFeeder's own. Not for training
  /// Of decoding: what the cache of full attention keeps and reads; none: as the model's own.
  std::optional<model::KvPolicy> kv_policy = {};
  int64_t question_tokens = 1;  ///< last tokens of the past, as model::read_text() takes them
};

/// What a run costs beside the median of its time.
struct SpeedResult {
  int64_t tokens = 0;     ///< of text, of one run
  int64_t positions = 0;  ///< landmarks included
  double median_seconds = 0;
  double flops = 0;  ///< useful ones of one run
  double bytes = 0;  ///< decoding: weights, windows and chunks that must be read in one run
  int64_t state_bytes =
      0;  ///< decoding: allocated for what the model keeps of the past, indexes and chunk memory included
  /// Decoding under a cache policy: what a run read of the cache, which `bytes` then counts, and its size.
  std::optional<model::KvReads> kv_reads = {};
  int64_t kv_cache_bytes = 0;
};

/// One optimizer step of config.batch * config.gradient_accumulation sequences.
SpeedResult measure_training(model::LanguageModel& model, train::TrainConfig config,
                             const SpeedSettings& settings);
/// A text of T tokens read in segments; `with_logits` also scores every token, as eval does.
SpeedResult measure_prefill(const model::LanguageModel& model, bool with_logits,
                            const SpeedSettings& settings);
/// Greedy tokens, one at a time, after a past of T tokens.
SpeedResult measure_decoding(const model::LanguageModel& model, const SpeedSettings& settings);

}  // namespace gca::bench
