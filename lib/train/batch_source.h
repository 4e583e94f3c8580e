#pragma once
// Where a run's batches come from: books or a task. Pure functions, so a run's place in the data is one
// integer.

#include <functional>
#include <string>

#include "lib/data/sequence_loader.h"

namespace gca {

struct BatchSource {
  /// The `rows` sequences after the first `consumed` of the run.
  std::function<Batch(int64_t consumed, int64_t rows)> batch;
  /// Changes whenever the batches would: resuming on others is refused.
  std::string fingerprint;
};

/// A fixed set of sequences to look at between steps; `source.batch` is called with 0 <= consumed <
/// sequences.
struct ValidationSource {
  BatchSource source;
  int64_t sequences = 0;           ///< 0: no validation
  bool measures_accuracy = false;  ///< also the share of targets that the arg-max hits (self-copy)
};

}  // namespace gca
