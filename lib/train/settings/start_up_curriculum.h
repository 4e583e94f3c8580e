#pragma once
// How a model learns to retrieve on text. It begins with layers that can copy and choose: those of start-up weights
// (start_up_weights.h), or its own, which start_up_phases.json teaches. Then it follows a curriculum on text: what a phase
// of it trains on, and how the settings move. Reading must not replace what the windows can do, so some sequences read
// nothing; their share falls as training goes on. docs/results.md has the measurements behind the numbers.

#include <cstdint>
#include <nlohmann/json.hpp>

#include "lib/train/settings/run_config.h"

namespace gca::train {

/// Values of TrainConfig::start_up that are not the folder of a checkpoint.
inline constexpr const char* kNoStartUp = "none";
inline constexpr const char* kShippedStartUp = "shipped";
inline constexpr const char* kTrainedStartUp = "train";

/// The phases (training_phases.h) that teach the layers to copy and to choose, from random weights. Their learning rates are
/// for the peak of `config`. The last one's model is kept as kept/start-up.
nlohmann::json start_up_training(const RunConfig& config);

/// The phases of a run of `total_steps` (1 or more) on text. Settings that were given by hand
/// keep their values; the length of a sequence, the batch and the peak and floor of the learning rate are
/// those of `config`.
nlohmann::json start_up_curriculum(const RunConfig& config, int64_t total_steps);

}  // namespace gca::train
