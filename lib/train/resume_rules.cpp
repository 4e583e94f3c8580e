#include "lib/train/resume_rules.h"

#include <fmt/format.h>

#include "lib/core/error.h"

namespace gca::train {
namespace {

/// Keys of which a preset's value is only a proposal: the data completes them, or they concern the beginning.
bool is_proposal(const std::string& key) {
  return key == "vocab_size" || key == "landmark_token_id" || key == "context" || key == "start_up";
}

}  // namespace

RunConfig recorded_config(const TrainerState& state) {
  RunConfig recorded;
  recorded.model = state.model;
  recorded.train = state.train;
  return recorded;
}

RunConfig resumed_config(const TrainerState& state, const RunConfig& asked) {
  RunConfig recorded = recorded_config(state);
  const nlohmann::ordered_json before = recorded.to_json();
  const nlohmann::ordered_json after = asked.to_json();
  for (const auto& [key, value] : before.items()) {
    if (after[key] == value || is_observation_key(key)) continue;
    if (is_proposal(key) && !asked.explicit_keys.contains(key)) continue;
    fail_usage("--resume",
               fmt::format("{} is {} in this run, {} was asked for", key, value.dump(), after[key].dump()),
               "leave it as it is, or begin a new run with --init");
  }
  for (const std::string& key : field_names(train_config_fields()))
    if (is_observation_key(key)) recorded.set("--resume", key, after[key]);
  return recorded;
}

void require_same_data(const TrainerState& state, const std::string& data,
                       const std::string& data_fingerprint) {
  if (data_fingerprint == state.data_fingerprint) return;
  fail_usage("--resume",
             fmt::format("{} is not the data this run began with", data.empty() ? "the task" : data),
             fmt::format("give --data {} as it was, or begin a new run with --init", state.data));
}

}  // namespace gca::train
