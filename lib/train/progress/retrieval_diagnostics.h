#pragma once
// Does the model choose? Three numbers a group that tell early: scores that do not differ, weights that are
// even, and choices as far away as chance would take them, say that it does not.

#include <ATen/core/Tensor.h>

#include <vector>

#include "lib/model/backbone.h"

namespace gca::train {

struct GroupDiagnostics {
  double spread =
      0.0;  ///< standard deviation of r over the candidates c < t, mean over landmarks with two or more
  double entropy = 0.0;  ///< of the weights w in nats, mean over landmarks with two candidates or more
  double mean_distance =
      0.0;  ///< text tokens from a chosen chunk to the chunk that reads it, mean over choices
};

/// Of one group: r (B, C, C) scores, idx (B, C, K) int32 choices (-1: none), w (B, C, K) weights. Row t was
/// chosen at the landmark of chunk t and serves chunk t + 1.
GroupDiagnostics diagnose_retrieval(const at::Tensor& r, const at::Tensor& idx, const at::Tensor& w,
                                    int64_t chunk_text_size);

/// One entry per group, from what a past reports after a run with ChoiceDetail::all_scores.
std::vector<GroupDiagnostics> diagnose_choices(const std::vector<model::Choices>& choices,
                                               int64_t chunk_text_size);

}  // namespace gca::train
