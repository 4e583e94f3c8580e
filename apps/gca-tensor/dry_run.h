#pragma once
// gca pretrain --dry-run: what a run would need.

#include "apps/gca/pretrain_options.h"
#include "lib/core/json_report.h"
#include "lib/train/run_estimate.h"
#include "lib/train/trainer_state.h"

namespace gca::app {

/// How long a run is to be; 0 where it was not given.
struct RunLength {
  int64_t steps = 0;
  double minutes = 0;
  int64_t tokens = 0;  ///< of all steps, where they differ
};

/// Fills `report` and prints it, or a table. `config`: of the largest step. `validation_sequences`: of one
/// validation, 0 for none; `probe` was timed.
void finish_dry_run(JsonReport& report, const PretrainOptions& options, const model::LanguageModel& model,
                    const train::TrainConfig& config, const train::StepProbe& probe,
                    const train::MemoryEstimate& memory, RunLength length, int64_t validation_sequences);

}  // namespace gca::app
