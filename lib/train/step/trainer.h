#pragma once
// One optimizer step, and nothing else: batches to loss, gradients, clipping, update. Step number n is a pure
// function of (weights, moments, n, seed), so a run that stops and resumes gives the bits of one that did
// not. With a communicator each rank reads its rows of every micro-batch, and all have the weights of the whole step.

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/model/language_model.h"
#include "lib/parallel/communicator.h"
#include "lib/train/data/batch_source.h"
#include "lib/train/progress/retrieval_diagnostics.h"
#include "lib/train/settings/lr_schedule.h"
#include "lib/train/settings/train_config.h"
#include "lib/train/settings/training_phases.h"
#include "lib/train/step/optimizer.h"

namespace gca::train {

struct StepResult {
  double loss = 0.0;           ///< nats, mean over all targets of the step
  double gradient_norm = 0.0;  ///< before clipping
  double learning_rate = 0.0;
  double residual_blend = 0.0;
  int64_t sequences = 0;  ///< of all ranks, as are tokens, targets and bytes
  int64_t text_tokens = 0;
  int64_t target_count = 0;
  double target_bytes = 0;  ///< as in data::Batch
  std::vector<GroupDiagnostics>
      retrieval;  ///< of the own rows of the first micro-batch; empty when not looked at
};

/// The micro-batches of a step, with the rows that this rank reads.
struct StepBatches {
  std::vector<data::Batch> own;
  int64_t rows = 0;       ///< of a micro-batch, of all ranks
  int64_t first_row = 0;  ///< the first of them that is read here
};

class Trainer {
 public:
  /// Borrows `model`, which must outlive it and whose residual_blend is the one to end with. `total_steps` is
  /// the length of the run (and of the schedule, unless the configuration sets another). Borrows `communicator`, null for
  /// one process; then all ranks call the same methods in the same order, with a batch of no fewer rows than ranks. Groups of
  /// them, `text_ranks` (null for none, borrowed), read the same rows, each its part of the text (part_of_text()); groups then
  /// count as ranks.
  Trainer(model::LanguageModel& model, const TrainConfig& config, BatchSource source, uint64_t seed,
          int64_t total_steps, parallel::Communicator* communicator = nullptr,
          parallel::Communicator* text_ranks = nullptr,
          parallel::RingScheme ring_scheme = parallel::RingScheme::gather);

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
  Optimizer& optimizer() { return *optimizer_; }
  /// Null for one process.
  parallel::Communicator* communicator() const { return communicator_; }
  model::LanguageModel& model() { return model_; }

 private:
  StepBatches step_batches(int64_t first_sequence, int64_t rows) const;
  model::ForwardOptions forward_options(const StepSettings& settings, int64_t step) const;
  StepResult accumulate_gradients(const model::ForwardOptions& options, const StepBatches& batches,
                                  bool look_at_retrieval);
  void clear_gradients();
  /// Adds up over ranks what the batches have: sequences, tokens, targets, bytes.
  void count_all_ranks(StepResult& result) const;
  /// A sum over ranks, in their order.
  double sum_over_ranks(double value, const std::string& what) const;

  [[noreturn]] void fail_non_finite(const model::ForwardOptions& options, const StepBatches& batches,
                                    const StepResult& result);

  model::LanguageModel& model_;
  TrainConfig config_;
  BatchSource source_;
  uint64_t seed_;
  std::shared_ptr<const TrainingPhases> phases_;
  LearningRateSchedule schedule_;
  parallel::Communicator* communicator_;
  parallel::Communicator* text_ranks_;
  parallel::RingScheme ring_scheme_;
  std::unique_ptr<Optimizer> optimizer_;
};

}  // namespace gca::train
