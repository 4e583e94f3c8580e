#pragma once
// Which start-up weights a training run begins with.

#include <string>

#include "apps/gca/options/pretrain_options.h"
#include "lib/train/settings/run_config.h"

namespace gca::app {

/// Folder of the start-up weights (lib/train/checkpoints/start_up_weights.h) of a run that begins; empty for none. What a
/// preset proposes is for training on text without --init and without a plan of phases, and for sizes that
/// weights are shipped for; `notice` then says where there are none. Throws Error(usage) where start_up was
/// given otherwise and cannot be obeyed.
std::string start_up_folder(const PretrainOptions& options, const train::RunConfig& config,
                            std::string& notice);

}  // namespace gca::app
