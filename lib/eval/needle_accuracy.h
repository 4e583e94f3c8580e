#pragma once
// Does a model answer from a needle in a haystack, and did it retrieve the needle's chunk?

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/data/needle_task.h"
#include "lib/eval/prefilled_text.h"

namespace gca {

/// How often a group's choice for the answer holds every chunk in which a value of the question stands.
struct RetrievalCount {
  int64_t group = 0;
  int64_t needle = 0;  ///< number of the hop; 0 where there is one needle
  int64_t retrieved = 0;
};

/// Trials whose (first) needle begins in a tenth of the places that it may stand at.
struct DepthCount {
  double depth = 0.0;  ///< where that tenth begins: 0 is the start of the text
  int64_t trials = 0;
  int64_t correct = 0;
};

/// One trial, in the order they were made.
struct NeedleTrial {
  int64_t trial = 0;
  std::vector<TokenSpan> values;                ///< where the values stand in the text, by hop
  std::vector<std::vector<int64_t>> retrieved;  ///< chunks chosen for the answer, best first, by group
  bool is_correct = false;
  bool is_exact = false;
};

struct NeedleAccuracy {
  int64_t text_tokens = 0;  ///< of a trial
  int64_t trials = 0;
  int64_t correct = 0;  ///< the paper's score: the first answer token is the most probable one; of a chain
                        ///< the last, after the tokens before it
  int64_t exact =
      0;  ///< the answer that the model generates, always the most probable token, is right as a whole
  std::vector<RetrievalCount> retrieval;  ///< by group, then needle; empty without retrieval
  std::vector<DepthCount> depths;         ///< 0, 0.1, ... 0.9
  int64_t cut_trials = 0;                 ///< a value of the question is cut in two by a chunk border
  int64_t cut_exact = 0;                  ///< and the whole answer is right
  std::vector<NeedleTrial> trial_list;
  double seconds = 0;
};

struct NeedleTrials {
  int64_t context = 0;  ///< text tokens at most
  int64_t trials = 0;
  int64_t haystacks = 1;  ///< trials take turns at so many beginnings, spread evenly over the haystack
};

/// Numbers of the trials, those of one haystack together.
std::vector<int64_t> trials_by_haystack(const NeedleTrials& how);

/// `allowed` (V): ids that may be generated. `progress` is called after each trial; it may throw to stop.
/// Greedy generation gives an answer exactly where every token of it is the most probable one after those
/// before: one pass over the answer tells both scores.
NeedleAccuracy measure_needles(const Drt& model, const NeedleTask& task, const Haystack& haystack,
                               PrefilledText& prefill, const NeedleTrials& how,
                               std::span<const uint8_t> allowed,
                               const std::function<void(const NeedleAccuracy&)>& progress);

}  // namespace gca
