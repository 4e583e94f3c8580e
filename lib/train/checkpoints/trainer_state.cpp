#include "lib/train/checkpoints/trainer_state.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "lib/core/error.h"
#include "lib/core/json/json_number.h"
#include "lib/tasks/task_kinds.h"
#include "lib/train/data/weighted_data.h"

namespace gca::train {
namespace {

constexpr const char* kFormat = "gca.trainer_state/1";
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// null stands for a number that is not known.
double number_from(const nlohmann::json& json) {
  return json.is_null() ? kUnknown : json.get<double>();
}

ValidationResult validation_from_json(const nlohmann::json& json) {
  ValidationResult result;
  result.step = whole_number(json.at("step"));
  result.tokens = whole_number(json.at("tokens"));
  result.loss = number_from(json.at("loss"));
  result.perplexity = number_from(json.at("perplexity"));
  result.bits_per_byte = number_from(json.at("bits_per_byte"));
  result.task = json.value("task", "");
  const char* accuracy = result.task.empty() ? "copy_accuracy" : "accuracy";
  result.accuracy = json.contains(accuracy) ? number_from(json.at(accuracy)) : kUnknown;
  if (json.contains("reading")) result.reading = reading_from_json(json.at("reading"));
  return result;
}

template <class Config>
void read_config(Config& config, std::span<const ConfigField<Config>> fields, const std::string& where,
                 const nlohmann::json& json) {
  // A setting that the run did not know yet is at its default, which changes nothing.
  for (const auto& field : fields)
    if (json.contains(field.key)) set_field(config, fields, where, field.key, json.at(field.key));
}

}  // namespace

nlohmann::ordered_json validation_to_json(const ValidationResult& result) {
  nlohmann::ordered_json json;
  json["step"] = result.step;
  json["tokens"] = result.tokens;
  json["loss"] = number_or_null(result.loss);
  json["perplexity"] = number_or_null(result.perplexity);
  json["bits_per_byte"] = number_or_null(result.bits_per_byte);
  if (!result.task.empty()) json["task"] = result.task;
  if (!std::isnan(result.accuracy))
    json[result.task.empty() ? "copy_accuracy" : "accuracy"] = result.accuracy;
  if (result.reading) json["reading"] = reading_to_json(*result.reading);
  return json;
}

nlohmann::ordered_json setting_change_to_json(const SettingChange& change) {
  return {{"step", change.step},
          {"setting", change.key},
          {"from", change.from},
          {"to", change.to},
          {"learning_rate_before", number_or_null(change.rate_before)},
          {"learning_rate_after", number_or_null(change.rate_after)}};
}

double loss_to_compare(const std::vector<ValidationResult>& results) {
  size_t first = results.size();
  while (first > 0 && results[first - 1].step == results.back().step) --first;
  for (size_t i = first; i < results.size(); ++i)
    if (results[i].task == tasks::kTextTask) return results[i].loss;
  return results.size() == first + 1 ? results[first].loss : kUnknown;
}

double TrainerState::train_loss() const {
  if (recent_losses.empty()) return kUnknown;
  return std::accumulate(recent_losses.begin(), recent_losses.end(), 0.0) /
         static_cast<double>(recent_losses.size());
}

nlohmann::ordered_json trainer_state_to_json(const TrainerState& state) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["step"] = state.step;
  json["sequences"] = state.sequences;
  json["tokens"] = state.tokens;
  json["total_steps"] = state.total_steps;
  json["train_seconds"] = state.train_seconds;
  json["seed"] = state.seed;
  json["dtype"] = state.dtype;
  if (state.ranks > 1) json["ranks"] = state.ranks;
  json["task"] = state.task;
  if (!state.phases.is_null()) json["phases"] = state.phases;
  json["data"] = data_to_json(state.data);
  json["valid_data"] = state.valid;
  json["data_fingerprint"] = state.data_fingerprint;
  if (state.end_token >= 0) json["end_token"] = state.end_token;
  json["model_config"] = fields_to_json(state.model, model::model_config_fields());
  json["train_config"] = fields_to_json(state.train, train_config_fields());
  for (const tasks::TaskSetting* setting : tasks::all_task_settings())
    json["train_config"][setting->key] = state.train.tasks.to_json(*setting);
  json["recent_losses"] = state.recent_losses;
  json["valid"] = nlohmann::ordered_json::array();
  for (const ValidationResult& result : state.valid_results)
    json["valid"].push_back(validation_to_json(result));
  for (const SettingChange& change : state.changes) json["changes"].push_back(setting_change_to_json(change));
  return json;
}

TrainerState trainer_state_from_json(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat)
    fail_usage(where, "not a trainer state of format " + std::string(kFormat),
               "resume from a checkpoint that gca pretrain wrote");
  try {
    TrainerState state;
    state.step = whole_number(json.at("step"));
    state.sequences = whole_number(json.at("sequences"));
    state.tokens = whole_number(json.at("tokens"));
    state.total_steps = whole_number(json.at("total_steps"));
    json.at("train_seconds").get_to(state.train_seconds);
    state.seed = unsigned_number(json.at("seed"));
    json.at("dtype").get_to(state.dtype);
    if (json.contains("ranks")) state.ranks = whole_number(json.at("ranks"));
    json.at("task").get_to(state.task);
    if (json.contains("phases")) state.phases = json.at("phases");
    state.data = data_from_json(json.at("data"));
    json.at("valid_data").get_to(state.valid);
    json.at("data_fingerprint").get_to(state.data_fingerprint);
    if (json.contains("end_token")) state.end_token = whole_number(json.at("end_token"));
    read_config(state.model, model::model_config_fields(), where, json.at("model_config"));
    const nlohmann::json& train = json.at("train_config");
    read_config(state.train, train_config_fields(), where, train);
    for (const tasks::TaskSetting* setting : tasks::all_task_settings())
      if (train.contains(setting->key)) state.train.tasks.set(*setting, where, train.at(setting->key));
    json.at("recent_losses").get_to(state.recent_losses);
    for (const auto& result : json.at("valid")) state.valid_results.push_back(validation_from_json(result));
    for (const auto& change : json.value("changes", nlohmann::json::array()))
      state.changes.push_back({whole_number(change.at("step")), change.at("setting"), change.at("from"),
                               change.at("to"), number_from(change.at("learning_rate_before")),
                               number_from(change.at("learning_rate_after"))});
    return state;
  } catch (const nlohmann::json::exception& error) {
    fail_usage(where, std::string("damaged: ") + error.what(),
               "resume from a checkpoint that gca pretrain wrote");
  }
}

}  // namespace gca::train
