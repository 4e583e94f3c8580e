#pragma once
// Where a run's batches come from: books or a task. Pure functions, so a run's place in the data is one
// integer.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/data/sequence_loader.h"
#include "lib/train/data/data_use.h"
#include "lib/train/settings/training_phases.h"

namespace gca::train {

struct BatchSource {
  /// The `rows` sequences after the first `consumed` of the run.
  std::function<data::Batch(int64_t consumed, int64_t rows)> batch;
  /// Changes whenever the batches would: resuming on others is refused.
  std::string fingerprint;
  /// How the data was used after so many sequences; empty for a task that makes its own.
  std::function<std::vector<DataUse>(int64_t consumed)> uses = {};
};

/// A fixed set of sequences to look at between steps; `source.batch` is called with 0 <= consumed <
/// sequences.
struct ValidationSource {
  BatchSource source;
  int64_t sequences = 0;                 ///< 0: no validation
  bool measures_accuracy = false;        ///< also the share of targets that the arg-max hits (tasks)
  std::string task;                      ///< what results are told under; empty where there is one task only
  int64_t batch = 1;                     ///< sequences at a time
  std::optional<StepSettings> settings;  ///< what the model is looked at with; none: its own
};

/// What to look at after so many optimizer steps.
using ValidationPlan = std::function<std::vector<ValidationSource>(int64_t step)>;

}  // namespace gca::train
