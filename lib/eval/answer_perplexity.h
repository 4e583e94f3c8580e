#pragma once
// How well a model predicts the last tokens of a text under a cache policy: what stands before them is read as a
// prompt, they are read one by one.

#include <cstdint>
#include <functional>
#include <span>

#include "lib/eval/eval_document.h"
#include "lib/eval/perplexity.h"
#include "lib/eval/policy_reader.h"
#include "lib/parallel/communicator.h"

namespace gca::eval {

struct AnswerSettings {
  int64_t context = 0;          ///< text tokens of a stretch, the answer among them
  int64_t answer_tokens = 0;    ///< last ones of a stretch, which are predicted
  int64_t question_tokens = 0;  ///< before them: PolicyReader::read()
  /// Ranks that share the stretches out; rank 0 has the result, and the cost. Null: this process alone.
  parallel::Communicator* ranks = nullptr;
};

struct AnswerPerplexity {
  LossSum total;  ///< over the answers; its bytes are not counted
  int64_t stretches = 0;
};

/// The whole stretches that `spans` hold, each read from an empty cache. `progress` is called after each; it may
/// throw to stop. Throws Error(failed) naming document and token when a loss is not finite.
AnswerPerplexity measure_answers(PolicyReader& reader, std::span<const EvalDocument> documents,
                                 std::span<const EvalSpan> spans, const AnswerSettings& settings,
                                 const std::function<void(const AnswerPerplexity&)>& progress);

}  // namespace gca::eval
