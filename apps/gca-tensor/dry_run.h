#pragma once
// gca pretrain --dry-run: what a run would need.

#include "apps/gca/options/pretrain_options.h"
#include "lib/core/json/json_report.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/data/task_data.h"
#include "lib/train/step/run_estimate.h"

namespace gca::app {

/// How long a run is to be; 0 where it was not given.
struct RunLength {
  int64_t steps = 0;
  double minutes = 0;
  int64_t tokens = 0;            ///< of all steps, where they differ
  int64_t sequences = 0;         ///< of all steps, where they differ
  int64_t sequences_before = 0;  ///< read when it goes on
};

/// Fills `report` and prints it, or a table. `config`: of the largest step. `data`: what the run reads;
/// `probe` was timed.
void finish_dry_run(JsonReport& report, const PretrainOptions& options, const model::LanguageModel& model,
                    const train::TrainConfig& config, const train::StepProbe& probe,
                    const train::MemoryEstimate& memory, RunLength length, const train::TaskData& data);

}  // namespace gca::app
