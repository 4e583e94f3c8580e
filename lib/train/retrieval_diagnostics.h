#pragma once
// Does the model choose? Three numbers a group that tell early: scores that do not differ, weights that are
// even, and choices as far away as chance would take them, say that it does not.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "lib/model/language_model.h"

namespace gca {

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

/// Collects what a forward pass observes and sums it up.
class RetrievalProbe {
 public:
  /// To be given to ForwardOptions::observe; this probe must outlive the forward pass.
  Observer observer();
  /// One entry per group, in order.
  std::vector<GroupDiagnostics> diagnostics(int64_t chunk_text_size) const;

 private:
  std::map<std::string, at::Tensor> seen_;
};

}  // namespace gca
