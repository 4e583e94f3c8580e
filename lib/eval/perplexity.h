#pragma once
// Loss of a model on documents at a given context length, overall and by position.
//
// Each span of a document is cut into stretches of `context` text tokens; each is scored from an empty past.
// Token j of a stretch predicts token j + 1 of its document, also where that is the first of the next
// stretch, so every context scores the same targets: all tokens of a document but its first. Sums are in
// fp64, in the order of the text.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lib/eval/eval_document.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/chunk_store.h"

namespace gca::eval {

/// Loss summed over targets; means are weighted by tokens.
struct LossSum {
  double nats = 0;
  int64_t tokens = 0;  ///< targets
  int64_t bytes = 0;   ///< of source text that the targets stand for

  double loss() const { return nats / static_cast<double>(tokens); }
  double perplexity() const;
  double bits_per_byte() const;
  LossSum& operator+=(const LossSum& other);
};

/// The first bucket of positions ends here; each further one is as long as all before it.
inline constexpr int64_t kFirstPositionEnd = 16;

/// Targets whose predicting token is number from <= j < to of its stretch.
struct PositionBucket {
  int64_t from = 0;
  int64_t to = 0;
  LossSum sum;
};

struct PerplexityOptions {
  int64_t context = 0;  ///< text tokens of a stretch
  model::Retriever retriever = model::Retriever::learned;
  uint64_t seed = 0;              ///< of Retriever::random
  int64_t segment_positions = 0;  ///< 0: chosen by default_segment_positions()
  std::optional<model::MemoryPlace> memory =
      {};  ///< of the chunk memory of each stretch; none: as TextFeeder's own
};

struct Perplexity {
  LossSum total;
  std::vector<PositionBucket>
      positions;  ///< [0, 16), [16, 32), [32, 64), ... up to the context; empty ones left out
  int64_t stretches = 0;
  int64_t full_stretches = 0;  ///< of `context` tokens; the others end with their document
  double seconds = 0;
};

/// `piece_bytes` (V): bytes of each id. `progress` is called after each segment with the sum so far; it may
/// throw to stop. Throws Error(failed) naming document and token when a loss is not finite.
Perplexity measure_perplexity(const model::LanguageModel& model, std::span<const EvalDocument> documents,
                              std::span<const EvalSpan> spans, std::span<const int32_t> piece_bytes,
                              const PerplexityOptions& options,
                              const std::function<void(const LossSum&)>& progress);

}  // namespace gca::eval
