#pragma once
// What a training run on text begins with, so that it learns to retrieve.

#include <string>

#include "apps/gca/options/pretrain_options.h"
#include "lib/train/settings/run_config.h"

namespace gca::app {

struct StartUp {
  std::string folder;  ///< of start-up weights (lib/train/checkpoints/start_up_weights.h); empty for none
  bool is_trained = false;  ///< by the first phases of the run itself
  std::string notice;       ///< for a person; empty for none

  /// Does the run follow the curriculum of lib/train/settings/start_up_curriculum.h?
  bool is_used() const { return !folder.empty() || is_trained; }
};

/// Of a run that begins. What a preset proposes is for training on text without --init and without a plan of phases, and
/// for sizes that weights are shipped for. Throws Error(usage) where start_up was given otherwise and cannot be obeyed.
StartUp planned_start_up(const PretrainOptions& options, const train::RunConfig& config);

}  // namespace gca::app
