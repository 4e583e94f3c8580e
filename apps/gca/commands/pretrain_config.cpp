#include "apps/gca/commands/pretrain_config.h"

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/train/data/weighted_data.h"
#include "lib/train/settings/training_phases.h"

namespace gca::app {
namespace {

/// The entry `name` of `json`, as T.
template <class T>
T entry(const nlohmann::json& json, const std::string& name, const std::string& where) {
  const auto found = json.find(name);
  if (found == json.end())
    fail_usage(where, "has no \"" + name + "\"", "give the report.json of a gca pretrain run");
  try {
    return found->get<T>();
  } catch (const nlohmann::json::exception&) {
    fail_usage(where, "\"" + name + "\" is " + found->dump(), "give the report.json of a gca pretrain run");
  }
}

/// Where `file` is the report of a run: see read_input_files().
void take_flags_from(const train::SettingsFile& file, PretrainOptions& options) {
  const nlohmann::json& report = file.content;
  if (file.is_preset || !report.contains("schema")) return;
  const std::string where = "--config " + file.where;
  if (report["schema"] != "gca.pretrain/1")
    fail_usage(where, "is not the report of a training run", "give the report.json of a gca pretrain run");
  const auto config = entry<nlohmann::json>(report, "config", where);
  const auto result = entry<nlohmann::json>(report, "result", where);
  if (!config.is_object() || !result.is_object())
    fail_usage(where, "is damaged", "give the report.json of a gca pretrain run");

  if (config.contains("branch"))
    fail_usage(where, "is the report of a run that branched from another",
               "branch once more: --branch " + config["branch"].dump());
  if (result.contains("changes"))
    fmt::print(stderr,
               "{}: settings were changed while this run was under way; a run that is begun with them all "
               "along will not repeat it\n",
               where);

  const auto is_given = [&](const char* flag) { return options.is_given(flag); };
  if (!is_given("--data")) {
    const auto data = entry<nlohmann::json>(config, "data", where);
    try {
      options.data = train::data_from_json(data);
    } catch (const nlohmann::json::exception&) {
      fail_usage(where, "\"data\" is " + data.dump(), "give the report.json of a gca pretrain run");
    }
    if (!is_given("--valid")) options.valid = entry<std::string>(config, "valid", where);
  }
  if (!is_given("--init")) options.init = entry<std::string>(config, "init", where);
  if (!is_given("--task") && config.contains("phases")) {
    if (!is_given("--phases")) options.phases_json = config["phases"];
  } else if (!is_given("--task")) {
    options.task = entry<std::string>(config, "task", where);
  }
  if (!is_given("--dtype")) options.tensor.dtype = entry<std::string>(config, "dtype", where);
  if (!is_given("--seed")) options.common.seed = entry<uint64_t>(report, "seed", where);
  if (options.phases_json.is_null() && !is_given("--phases") && !is_given("--steps") &&
      !is_given("--tokens") && !is_given("--minutes"))
    options.steps = entry<int64_t>(result, "planned_steps", where);
}

}  // namespace

void apply_flags(const PretrainOptions& options, train::RunConfig& config) {
  for (const std::string& assignment : options.settings) config.set_from_flag(assignment);
  if (options.batch >= 0) config.set_from_flag("batch=" + std::to_string(options.batch), "--batch");
  if (!options.start_up.empty()) config.set_from_flag("start_up=" + options.start_up, "--start-up");
  for (const std::string& keep : options.keep)
    config.set_from_flag(keep == "best" ? "keep_best=true" : "keep_checkpoints=" + keep, "--keep");
}

train::RunConfig new_run_config(const PretrainOptions& options) {
  train::RunConfig config;
  if (!options.init.empty())
    config.take(train::SettingsFile::read(model::find_checkpoint(options.init, "--init " + options.init) +
                                          "/config.json"));
  config.take_all(options.config_files);
  apply_flags(options, config);
  return config;
}

void read_input_files(PretrainOptions& options) {
  for (const std::string& name : options.configs)
    options.config_files.push_back(train::SettingsFile::read(name));
  if (!options.goes_on())
    for (const train::SettingsFile& file : options.config_files) take_flags_from(file, options);
  if (!options.phases.empty()) options.phases_json = train::TrainingPhases::read(options.phases);
}

std::string config_table(const train::RunConfig& config) {
  const nlohmann::ordered_json settings = config.to_json();
  std::string table;
  for (const auto& [key, value] : settings.items()) {
    const auto source = config.sources.find(key);
    table += fmt::format("{:<34} {:<14} {}\n", key, value.dump(),
                         source == config.sources.end() ? "default" : source->second);
  }
  return table;
}

}  // namespace gca::app
