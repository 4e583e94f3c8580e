#pragma once
// What a resumed run may be told: how often to look and to save, how long to go on; nothing that would change
// its course.

#include <string>

#include "lib/train/run_config.h"
#include "lib/train/trainer_state.h"

namespace gca {

/// The configuration of `state` with `config_name` (empty: none) and --set `settings` laid over it. Throws
/// Error(usage) naming the first key whose value differs and is no observation key.
RunConfig resumed_config(const TrainerState& state, const std::string& config_name,
                         const std::vector<std::string>& settings);

/// Throws Error(usage) unless `data_fingerprint` is that of the run.
void require_same_data(const TrainerState& state, const std::string& data,
                       const std::string& data_fingerprint);

}  // namespace gca
