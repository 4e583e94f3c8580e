#include "lib/train/checkpoints/resume_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <algorithm>
#include <limits>
#include <utility>

#include "lib/core/error.h"
#include "lib/train/data/weighted_data.h"
#include "lib/train/settings/lr_schedule.h"

namespace gca::train {
namespace {

/// Keys of which a preset's value is only a proposal: the data completes them, or they concern the beginning.
bool is_proposal(const std::string& key) {
  return key == "vocab_size" || key == "landmark_token_id" || key == "context" || key == "start_up";
}

/// Does every task of every phase set its own learning rate?
bool phases_set_the_rate(const nlohmann::json& phases) {
  const auto sets_it = [](const nlohmann::json& one) { return one.contains("learning_rate"); };
  const nlohmann::json& list = phases.at("phases");
  return std::all_of(list.begin(), list.end(), [&](const nlohmann::json& phase) {
    const nlohmann::json& tasks = phase.at("tasks");
    return sets_it(phase) || std::all_of(tasks.begin(), tasks.end(), sets_it);
  });
}

bool is_schedule_key(const std::string& key) {
  return key == "schedule" || key == "schedule_steps" || key == "min_learning_rate" ||
         key.starts_with("warmup_") || key.starts_with("decay_");
}

/// Throws Error(usage) where --change cannot change `key`, or that would change nothing.
void require_changeable(const TrainerState& state, const std::string& key, const std::string& where) {
  if (is_observation_key(key)) fail_usage(where, key + " changes no bit of the run", "use --set");
  if (!is_optimizer_key(key))
    fail_usage(where, key + " cannot change while a model is trained",
               fmt::format("these can: {}", fmt::join(optimizer_keys(), ", ")));
  if (state.phases.is_null()) return;
  if (is_schedule_key(key) || (key == "learning_rate" && phases_set_the_rate(state.phases)))
    fail_usage(where, "the phases of this run say what the learning rate is",
               "begin a new run with --init and other --phases");
}

/// The learning rate of the last step before `step` and of that step.
std::pair<double, double> rates_around(const TrainerState& before, const TrainConfig& after,
                                       int64_t total_steps) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  if (!before.phases.is_null()) return {kUnknown, kUnknown};
  return {make_schedule(before.train, before.total_steps).at(std::max<int64_t>(before.step - 1, 0)),
          make_schedule(after, total_steps).at(before.step)};
}

}  // namespace

RunConfig recorded_config(const TrainerState& state) {
  RunConfig recorded;
  recorded.model = state.model;
  recorded.train = state.train;
  return recorded;
}

RunConfig resumed_config(const TrainerState& state, const RunConfig& asked,
                         std::span<const std::string> changes) {
  RunConfig recorded = recorded_config(state);
  const nlohmann::ordered_json before = recorded.to_json();
  const nlohmann::ordered_json after = asked.to_json();
  for (const auto& [key, value] : before.items()) {
    if (after[key] == value || is_observation_key(key)) continue;
    if (is_proposal(key) && !asked.explicit_keys.contains(key)) continue;
    fail_usage("--resume",
               fmt::format("{} is {} in this run, {} was asked for", key, value.dump(), after[key].dump()),
               is_optimizer_key(key) ? fmt::format("leave it as it is, or ask for it with --change {}={}",
                                                   key, after[key].dump())
                                     : "leave it as it is, or begin a new run with --init");
  }
  for (const std::string& key : field_names(train_config_fields()))
    if (is_observation_key(key)) recorded.set("--resume", key, after[key]);
  for (const std::string& change : changes) {
    const std::string key = change.substr(0, change.find('='));
    recorded.set_from_flag(change, "--change");  // an unknown key is told here
    require_changeable(state, key, "--change " + change);
  }
  return recorded;
}

std::vector<SettingChange> changes_of(const TrainerState& before, const TrainConfig& after,
                                      int64_t total_steps) {
  const std::pair<double, double> rates = rates_around(before, after, total_steps);
  std::vector<SettingChange> changes;
  const auto add = [&](const std::string& key, const nlohmann::json& from, const nlohmann::json& to) {
    if (from != to) changes.push_back({before.step, key, from, to, rates.first, rates.second});
  };
  add("steps", before.total_steps, total_steps);
  const nlohmann::json old_values = fields_to_json(before.train, train_config_fields());
  const nlohmann::json new_values = fields_to_json(after, train_config_fields());
  for (const std::string& key : optimizer_keys()) add(key, old_values.at(key), new_values.at(key));
  return changes;
}

std::string change_remarks(std::span<const SettingChange> changes, const TrainerState& before,
                           const TrainConfig& after, int64_t total_steps) {
  if (changes.empty()) return "";
  std::string text;
  for (const SettingChange& change : changes)
    text += fmt::format("step {}: {} is {} from here on, {} before\n", change.step, change.key,
                        change.to.dump(), change.from.dump());
  if (!before.phases.is_null()) return text;
  text += fmt::format("the learning rate goes from {:.4g} at step {} to {:.4g} at step {}\n",
                      changes.front().rate_before, before.step, changes.front().rate_after, before.step + 1);
  const LearningRateSchedule old_schedule = make_schedule(before.train, before.total_steps);
  const LearningRateSchedule new_schedule = make_schedule(after, total_steps);
  if (old_schedule.kind == new_schedule.kind && old_schedule.kind != ScheduleKind::constant &&
      old_schedule.total_steps != new_schedule.total_steps && after.schedule_steps == 0)
    text += fmt::format(
        "the {} schedule now has {} steps, not {}; with --change schedule_steps={} it stays as it was, at "
        "{:.4g} "
        "at step {} and {:.4g} at the end\n",
        after.schedule, new_schedule.total_steps, old_schedule.total_steps, old_schedule.total_steps,
        old_schedule.at(before.step), before.step + 1, old_schedule.at(total_steps - 1));
  return text;
}

void require_same_data(const TrainerState& state, std::span<const std::string> recorded_data,
                       const std::string& data_fingerprint) {
  if (data_fingerprint == state.data_fingerprint) return;
  fail_usage("--resume",
             fmt::format("{} is not the data this run began with",
                         state.data.empty() ? "the task" : data_flags(state.data)),
             fmt::format("give {} as it was, or begin a new run with --init", data_flags(recorded_data)));
}

}  // namespace gca::train
