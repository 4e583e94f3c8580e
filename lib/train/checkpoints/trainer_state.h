#pragma once
// trainer_state.json of a checkpoint: where a run is and everything that decides how it continues, so that
// --resume needs no other flag. Format "gca.trainer_state/1".

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/train/progress/reading_gain.h"
#include "lib/train/settings/train_config.h"

namespace gca::train {

/// One validation.
struct ValidationResult {
  int64_t step = 0;    ///< optimizer steps made before
  int64_t tokens = 0;  ///< text tokens trained on before
  double loss = 0.0;   ///< nats, mean over all targets
  double perplexity = 0.0;
  double bits_per_byte = 0.0;  ///< NaN where the bytes are not known
  double accuracy = 0.0;       ///< share of targets that the arg-max hits; NaN where not measured
  std::string task;            ///< of several; empty where there is one
  std::optional<ReadingGain> reading = {};  ///< of text, where the model retrieves
  bool loses_text = false;  ///< unknown tokens stand for some of the text; reported when found, not saved
};

nlohmann::ordered_json validation_to_json(const ValidationResult& result);

/// What a checkpoint is compared with others by: of the last validation the loss of the text, or of the only task;
/// NaN where there is neither.
double loss_to_compare(const std::vector<ValidationResult>& results);

/// A setting that was changed when the run went on, and what that did to the learning rate.
struct SettingChange {
  int64_t step = 0;  ///< optimizer steps made before
  std::string key;   ///< "steps": how long the run is
  nlohmann::json from;
  nlohmann::json to;
  double rate_before = 0.0;  ///< learning rate of the last step made; NaN where phases set it
  double rate_after = 0.0;   ///< of the next step; NaN where phases set it
};

nlohmann::ordered_json setting_change_to_json(const SettingChange& change);

struct TrainerState {
  int64_t step = 0;            ///< optimizer steps made
  int64_t sequences = 0;       ///< sequences consumed
  int64_t tokens = 0;          ///< text tokens trained on
  int64_t total_steps = 0;     ///< planned
  double train_seconds = 0.0;  ///< spent in steps so far; for tokens/s, decides nothing
  uint64_t seed = 0;
  std::string dtype;              ///< "bf16" or "fp32"
  int64_t ranks = 1;              ///< that made the last steps; decides the order of their sums
  std::string task;               ///< "text", "self-copy", ...; "phases"
  nlohmann::json phases;          ///< null, or what --phases gave
  std::vector<std::string> data;  ///< words of --data (weighted_data.h)
  std::string valid;              ///< folder as given
  std::string data_fingerprint;
  int64_t end_token = -1;    ///< ends each document of the data; -1: none does
  model::ModelConfig model;  ///< its residual_blend is the final one; config.json has that of the moment
  TrainConfig train;
  std::vector<double> recent_losses;  ///< of the last steps, at most kRecentLosses
  std::vector<ValidationResult> valid_results;
  std::vector<SettingChange> changes;

  static constexpr size_t kRecentLosses = 20;
  /// Mean of recent_losses; NaN before the first step.
  double train_loss() const;
};

nlohmann::ordered_json trainer_state_to_json(const TrainerState& state);
/// Throws Error(usage) naming `where` when a field is missing or of a wrong type.
TrainerState trainer_state_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace gca::train
