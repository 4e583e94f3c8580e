#pragma once
// Does retrieval find the first occurrence of a passage when it comes again? Beside BM25 over the same chunks
// and a random choice.

#include <cstdint>
#include <functional>
#include <vector>

#include "lib/data/recall_task.h"
#include "lib/eval/needle_accuracy.h"
#include "lib/eval/prefilled_text.h"

namespace gca {

/// A trial is a hit where a chosen chunk lies for at least half of its text within the first occurrence. The
/// choice is that of the landmark that closes the last whole chunk, which lies within the repeat; BM25 is
/// asked with the text of that chunk.
struct RecallRate {
  int64_t text_tokens = 0;  ///< of a trial, the repeat's last part not counted
  int64_t trials = 0;
  int64_t hits = 0;  ///< of any group
  std::vector<int64_t> group_hits;
  int64_t bm25_hits = 0;           ///< of the K best
  double random_hits = 0;          ///< expected of K chunks drawn without replacement
  std::vector<DepthCount> depths;  ///< of the first occurrence; hits of any group
  double seconds = 0;
};

/// `how` as for needles. Throws Error(usage) for a model without retrieval.
RecallRate measure_recall(const Drt& model, const RecallTask& task, const Haystack& haystack,
                          PrefilledText& prefill, const NeedleTrials& how,
                          const std::function<void(const RecallRate&)>& progress);

}  // namespace gca
