#pragma once
// A run from its first step to its last: steps, validations, checkpoints, metrics, progress, and an orderly
// stop.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/profile/operator_profile.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/data/batch_source.h"
#include "lib/train/step/trainer.h"

namespace gca::train {

struct RunOptions {
  std::string output;          ///< folder; holds checkpoint/ and metrics.jsonl
  std::string tokenizer_file;  ///< content of the tokenizer's file, empty for none
  int64_t stop_at = 0;         ///< stop after so many steps, to go on later; 0: at the end
  bool quiet = false;
  bool tensorboard = false;  ///< also writes what metrics.jsonl tells into an event file (event_file.h)
  bool is_new = true;        ///< metrics and kept checkpoints of an earlier run are dropped
  /// BatchSource::uses of what is trained on; may be empty.
  std::function<std::vector<DataUse>(int64_t consumed)> data_uses;
  /// That the run follows; they change where a phase ends early, and TrainerState::phases with them. May be null.
  std::shared_ptr<TrainingPhases> phases;
  std::vector<SettingChange> changes;       ///< that this run goes on with; recorded
  const std::atomic<bool>* stop = nullptr;  ///< asked between steps and batches of validations; may be null
  std::atomic<bool>* save = nullptr;        ///< set from outside: save and go on; may be null
  profile::OperatorProfile* profile = nullptr;  ///< collects the steps after the first; may be null
};

enum class RunEnd { finished, interrupted };

/// Takes `state` from where it stands to its total_steps. A validation that a stop cuts short is made when the
/// run goes on. Whenever it returns, the checkpoint is that of
/// `state`; when it throws, the last complete checkpoint is there. `trainer` must hold the moments that
/// belong to `state`. With several ranks all stop and save after the same step, whichever of them is asked to.
RunEnd run_training(Trainer& trainer, TrainerState& state, const ValidationPlan& validation,
                    const RunOptions& options);

/// How many steps fit into `seconds`, validations included, for a step of `step_seconds` and a validation of
/// `validation_seconds` every `eval_interval` steps (0: only at both ends). At least 1.
int64_t steps_within(double seconds, double step_seconds, double validation_seconds, int64_t eval_interval);

}  // namespace gca::train
