#pragma once
// What a training run is, before anything of it is made: what it continues, its settings, its data, its length.

#include <string>
#include <vector>

#include "apps/gca-tensor/start_up.h"
#include "apps/gca/options/pretrain_options.h"
#include "lib/parallel/text_shares.h"
#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/data/task_data.h"
#include "lib/train/settings/run_config.h"
#include "lib/train/step/run_estimate.h"

namespace gca::app {

/// What a run is, before anything of it is made: where it stands, its settings, its data.
struct PlannedRun {
  train::TrainerState state;
  train::RunConfig config;
  train::TaskData data;
  StartUp start_up;
  std::vector<std::string> recorded_data;  ///< of a run that goes on: what it was begun with

  /// Sequences that it will have read in the end.
  int64_t planned_sequences(int64_t total_steps) const {
    if (data.phases) return data.phases->total_sequences();
    return state.sequences + (total_steps - state.step) * config.train.sequences_per_step();
  }
};

/// The checkpoint that a run goes on from; empty for one that begins.
std::string continued_checkpoint(const PretrainOptions& options);

/// A run that goes on, or one that begins; where it has a start-up and its length is known, it follows the curriculum
/// already. `ranks` processes share its work. Throws Error(usage) where what the command line says cannot be meant.
PlannedRun plan_run(const PretrainOptions& options, int ranks);

/// Text training with a start-up follows a curriculum, which takes `steps`, or so many that they read
/// `tokens` (-1: as many as they do), those that train the start-up included. Throws Error(usage) where they would be
/// all.
void follow_curriculum(PlannedRun& run, int64_t steps, int64_t tokens);

/// Steps that read at least so many text tokens.
int64_t steps_of_tokens(int64_t tokens, const train::TrainConfig& config);

/// Where a resumed run is to end: as planned, unless the command line says otherwise.
int64_t resumed_steps(const PretrainOptions& options, const train::TrainerState& state);

/// The settings of the step that takes the most memory.
train::TrainConfig largest_step(const PlannedRun& run);
/// Processes of a run, of which groups of `text_ranks` share each text.
struct RankCount {
  int ranks = 1;
  int text_ranks = 1;
  parallel::RingScheme ring_scheme = parallel::RingScheme::gather;
  int groups() const { return ranks / text_ranks; }
};

/// How many ranks gather the chunks, or the keys and values, of a text of this model; 1: each has its own alone.
int gathering_ranks(const model::ModelConfig& config, const RankCount& count);

/// The same with the rows, and the part of the text, of the rank that has the most of them.
train::TrainConfig largest_share(const PlannedRun& run, const RankCount& count);

/// Throws Error(usage) where the processes cannot share the run's steps: too few rows in a batch, rows that the model lets see
/// each other, texts that it reads whole, or texts that cannot be cut into so many parts.
void require_work_for_ranks(const PlannedRun& run, const RankCount& count);

/// Throws Error(usage), naming what says how large a batch is, where `memory` is more than there is.
void require_memory(const train::MemoryEstimate& memory, const PlannedRun& run, const RankCount& count);

/// How a run that goes on differs from before.
struct PlannedChanges {
  std::vector<train::SettingChange> changes;
  std::string remarks;  ///< for a person
};

PlannedChanges planned_changes(const PlannedRun& run, int64_t total_steps);

}  // namespace gca::app
