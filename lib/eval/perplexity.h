#pragma once
// Loss of a model on documents at a given context length, overall and by position.
//
// Each span of a document is cut into stretches of `context` text tokens; each is scored from an empty past.
// Token j of a stretch predicts token j + 1 of its document, also where that is the first of the next
// stretch, so every context scores the same targets: all tokens of a document but its first. With a stride
// stretches overlap: each begins `stride` tokens after the one before and counts only what that one did not
// reach, so that all predictions but the first of a text look back on at least context - stride tokens. Sums
// are in fp64, in the order of the text.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lib/data/source_bytes.h"
#include "lib/eval/eval_document.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/chunk_store.h"
#include "lib/parallel/communicator.h"

namespace gca::eval {

/// Loss summed over targets; means are weighted by tokens.
struct LossSum {
  double nats = 0;
  int64_t tokens = 0;  ///< targets
  double bytes = 0;    ///< of source text that the targets stand for (lib/data/source_bytes.h)

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

/// One prediction.
struct TokenLoss {
  const EvalDocument* document = nullptr;
  int64_t token = 0;    ///< number of the target in its document
  int32_t id = 0;       ///< of the target
  int64_t context = 0;  ///< text tokens before it that the model had read
  LossSum loss;
};

struct PerplexityOptions {
  int64_t context = 0;  ///< text tokens of a stretch
  int64_t stride = 0;   ///< text tokens between the beginnings of stretches, at most `context`; 0: `context`
  model::Retriever retriever = model::Retriever::learned;
  uint64_t seed = 0;              ///< of Retriever::random
  int64_t segment_positions = 0;  ///< 0: chosen by default_segment_positions()
  std::optional<model::MemoryPlace> memory =
      {};                                  ///< of the chunk memory of each stretch; none: as TextFeeder's own
  std::vector<int32_t> start_tokens = {};  ///< read before every stretch, beyond its context
  int32_t end_token = -1;                  ///< predictions of it are counted apart, too; -1: of none
  std::function<void(const TokenLoss&)> show_token = {};  ///< called for every prediction that counts
  /// Ranks that share the stretches out; rank 0 has the result, with the bits of one process. Null: this process alone.
  parallel::Communicator* ranks = nullptr;
};

/// What is predicted of one document.
struct DocumentLoss {
  int64_t document = 0;  ///< its number
  LossSum sum;
};

struct Perplexity {
  LossSum total;
  std::vector<PositionBucket>
      positions;  ///< [0, 16), [16, 32), [32, 64), ... up to the context; empty ones left out
  std::vector<DocumentLoss> documents;  ///< in their order; those of which nothing is predicted left out
  int64_t unknown_tokens =
      0;                   ///< in the documents: text that is lost; counted where the pieces are not exact
  int64_t end_tokens = 0;  ///< predictions of the end token, which are in all sums and stand for no byte
  int64_t stretches = 0;
  int64_t full_stretches = 0;  ///< of `context` tokens; the others end with their document
  double seconds = 0;
};

/// `pieces` tells the bytes of each id. `progress` is called after each segment with the sum so far, which is 0 until
/// something has been added; it may throw to stop. Throws Error(failed) naming document and token when a loss is not finite.
Perplexity measure_perplexity(const model::LanguageModel& model, std::span<const EvalDocument> documents,
                              std::span<const EvalSpan> spans, const data::PieceBytes& pieces,
                              const PerplexityOptions& options,
                              const std::function<void(const LossSum&)>& progress);

}  // namespace gca::eval
