#pragma once
// One optimizer step, and nothing else: batches to loss, gradients, clipping, update. Step number n is a pure
// function of (weights, moments, n, seed), so a run that stops and resumes gives the bits of one that did
// not.

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/model/language_model.h"
#include "lib/train/data/batch_source.h"
#include "lib/train/progress/retrieval_diagnostics.h"
#include "lib/train/settings/lr_schedule.h"
#include "lib/train/settings/train_config.h"
#include "lib/train/settings/training_phases.h"
#include "lib/train/step/adamw_optimizer.h"

namespace gca::train {

struct StepResult {
  double loss = 0.0;           ///< nats, mean over all targets of the step
  double gradient_norm = 0.0;  ///< before clipping
  double learning_rate = 0.0;
  double residual_blend = 0.0;
  int64_t sequences = 0;
  int64_t text_tokens = 0;
  int64_t target_count = 0;
  double target_bytes = 0;                  ///< as in data::Batch
  std::vector<GroupDiagnostics> retrieval;  ///< of the first micro-batch; empty when not looked at
};

class Trainer {
 public:
  /// Borrows `model`, which must outlive it and whose residual_blend is the one to end with. `total_steps` is
  /// the length of the run (and of the schedule, unless the configuration sets another).
  Trainer(model::LanguageModel& model, const TrainConfig& config, BatchSource source, uint64_t seed,
          int64_t total_steps);

  /// Makes optimizer step number `step` (from 0); `first_sequence` sequences were consumed before. A loss or
  /// gradient that is not finite is Error(failed) naming the first tensor that is not; weights and moments
  /// are then still those of before the step.
  StepResult make_step(int64_t step, int64_t first_sequence, bool look_at_retrieval);

  /// Seconds that a step takes, the update included; looks at a few steps, at fewer when these take more than
  /// `at_most_seconds`. Changes no bit of the weights; moments must be zero before, and are after.
  double measure_step_seconds(double at_most_seconds);

  /// From now on the settings of a step are those of `phases`, not those of the configuration.
  void follow(std::shared_ptr<const TrainingPhases> phases) { phases_ = std::move(phases); }
  /// What step number `step` is made with.
  StepSettings settings_at(int64_t step) const;
  /// The model's configuration with what a step may change as `settings` have it.
  model::ModelConfig config_with(const model::ModelConfig& settings) const;
  /// The one that the model is saved and looked at with after `steps` steps.
  model::ModelConfig config_after(int64_t steps) const;

  /// What can be done where a step was not finite, for the error that tells it.
  std::string way_out_of_non_finite() const;

  const LearningRateSchedule& schedule() const { return schedule_; }
  void set_total_steps(int64_t total_steps);
  AdamWOptimizer& optimizer() { return optimizer_; }
  model::LanguageModel& model() { return model_; }

 private:
  std::vector<data::Batch> step_batches(int64_t first_sequence, int64_t rows) const;
  model::ForwardOptions forward_options(const StepSettings& settings, int64_t step) const;
  StepResult accumulate_gradients(const model::ForwardOptions& options,
                                  const std::vector<data::Batch>& batches, bool look_at_retrieval);
  void clear_gradients();

  [[noreturn]] void fail_non_finite(const model::ForwardOptions& options,
                                    const std::vector<data::Batch>& batches, const StepResult& result);

  model::LanguageModel& model_;
  TrainConfig config_;
  BatchSource source_;
  uint64_t seed_;
  std::shared_ptr<const TrainingPhases> phases_;
  LearningRateSchedule schedule_;
  AdamWOptimizer optimizer_;
};

}  // namespace gca::train
