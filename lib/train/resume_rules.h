#pragma once
// What may be changed in a resumed run: how often to look and to save, how long to go on; nothing that would change
// its course.

#include <string>

#include "lib/train/run_config.h"
#include "lib/train/trainer_state.h"

namespace gca::train {

/// What the run was begun with.
RunConfig recorded_config(const TrainerState& state);

/// The configuration of `state` with what `asked` (recorded_config() and what the command line laid over it)
/// may change. Throws Error(usage) naming the first key whose value differs and is not an observation key.
RunConfig resumed_config(const TrainerState& state, const RunConfig& asked);

/// Throws Error(usage) unless `data_fingerprint` is that of the run.
void require_same_data(const TrainerState& state, const std::string& data,
                       const std::string& data_fingerprint);

}  // namespace gca::train
