#pragma once
// What may be changed in a run that goes on: how often to look and to save, how long to go on, and, where it is
// asked for aloud (--change), settings of the optimizer; nothing else that would change its course.

#include <span>
#include <string>
#include <vector>

#include "lib/train/checkpoints/trainer_state.h"
#include "lib/train/settings/run_config.h"

namespace gca::train {

/// What the run was begun with.
RunConfig recorded_config(const TrainerState& state);

/// The configuration of `state` with what `asked` (recorded_config() and what the command line laid over it)
/// may change, and `changes`, KEY=VALUE each. Throws Error(usage) naming the first key that cannot change so.
RunConfig resumed_config(const TrainerState& state, const RunConfig& asked,
                         std::span<const std::string> changes);

/// How the run differs from `before`, the state it goes on from, when it is made with `after` and ends at
/// `total_steps`; empty where it does not.
std::vector<SettingChange> changes_of(const TrainerState& before, const TrainConfig& after,
                                      int64_t total_steps);

/// What to tell of `changes`, a line each: old and new value, old and new learning rate, and how to stay on the old
/// schedule where a new length stretches it.
std::string change_remarks(std::span<const SettingChange> changes, const TrainerState& before,
                           const TrainConfig& after, int64_t total_steps);

/// Throws Error(usage) unless `data_fingerprint`, of the data of `state`, is that of the run, which began with
/// `recorded_data` (words of --data).
void require_same_data(const TrainerState& state, std::span<const std::string> recorded_data,
                       const std::string& data_fingerprint);

}  // namespace gca::train
