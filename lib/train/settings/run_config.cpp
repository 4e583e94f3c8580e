#include "lib/train/settings/run_config.h"

#include <filesystem>

#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/model/presets.h"
#include "lib/tasks/task_kinds.h"

namespace gca::train {

SettingsFile SettingsFile::read(const std::string& preset_or_file) {
  SettingsFile file;
  std::string text;
  std::string known;
  for (const model::PresetText& preset : model::embedded_presets()) {
    if (preset_or_file == preset.name) {
      file.where = "preset " + preset_or_file;
      file.is_preset = true;
      text = preset.text;
    }
    known += known.empty() ? preset.name : std::string(", ") + preset.name;
  }
  if (!file.is_preset) {
    namespace fs = std::filesystem;
    if (!fs::exists(preset_or_file) || fs::is_directory(preset_or_file))
      fail_usage("--config " + preset_or_file, "no such preset or file",
                 "give a JSON file or one of " + known);
    file.where = preset_or_file;
    text = read_file(preset_or_file);
  }
  file.content = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!file.content.is_object()) fail_usage(file.where, "not a JSON object", "write {\"KEY\": VALUE, ...}");
  return file;
}

std::vector<std::string> run_config_keys() {
  std::vector<std::string> keys = field_names(model::model_config_fields());
  for (const std::string& key : field_names(train_config_fields())) keys.push_back(key);
  for (const tasks::TaskSetting* setting : tasks::all_task_settings()) keys.emplace_back(setting->key);
  return keys;
}

std::vector<Setting> run_config_settings() {
  const nlohmann::ordered_json defaults = RunConfig{}.to_json();
  std::vector<Setting> settings;
  const auto add = [&](const auto& fields) {
    for (const auto& field : fields) settings.push_back({field.key, field.help, defaults[field.key].dump()});
  };
  add(model::model_config_fields());
  add(train_config_fields());
  for (const tasks::TaskSetting* setting : tasks::all_task_settings())
    settings.push_back({setting->key, setting->help, defaults[setting->key].dump()});
  return settings;
}

void RunConfig::set(const std::string& where, const std::string& key, const nlohmann::json& value) {
  if (const tasks::TaskSetting* setting = tasks::find_task_setting(key))
    train.tasks.set(*setting, where, value);
  else if (!set_field(model, model::model_config_fields(), where, key, value) &&
           !set_field(train, train_config_fields(), where, key, value))
    fail_usage(where, "unknown setting '" + key + "'",
               "did you mean '" + nearest_name(key, run_config_keys()) + "'?");
  sources[key] = where;
}

void RunConfig::set_number(const std::string& where, const std::string& key, double value) {
  if (!set_field_number(model, model::model_config_fields(), where, key, value))
    set_field_number(train, train_config_fields(), where, key, value);
}

void RunConfig::set_from_flag(const std::string& assignment, const std::string& flag) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    fail_usage(flag + " " + assignment, "not a setting", "write " + flag + " KEY=VALUE");
  const std::string key = assignment.substr(0, equals);
  set(flag + " " + assignment, key, parse_setting_value(assignment.substr(equals + 1)));
  sources[key] = flag;
  explicit_keys.insert(key);
}

void RunConfig::take(const SettingsFile& file) {
  const std::string& where = file.where;
  const nlohmann::json& json = file.content;
  if (json.contains("model_type")) {  // the config.json of a checkpoint
    model = model::model_config_from_json(json, where);
    for (const std::string& key : field_names(model::model_config_fields())) sources[key] = where;
    return;
  }
  if (json.contains("schema")) {  // the report of a run: its config also holds things that are not settings
    const auto config = json.find("config");
    if (config == json.end() || !config->is_object())
      fail_usage(where, "is a report without a configuration", "give the report.json of a gca pretrain run");
    for (const std::string& key : run_config_keys())
      if (config->contains(key)) set(where, key, (*config)[key]);
    return;
  }
  for (const auto& [key, value] : json.items()) set(where, key, value);
}

void RunConfig::take_all(std::span<const SettingsFile> presets_and_files) {
  for (const bool presets : {true, false})
    for (const SettingsFile& file : presets_and_files)
      if (file.is_preset == presets) take(file);
}

std::string RunConfig::places() const {
  std::set<std::string> distinct;
  for (const auto& [key, place] : sources) distinct.insert(place);
  std::string all;
  // Presets before files before flags, which begin with "--": the order in which they overrule each other.
  for (const int rank : {0, 1, 2}) {
    for (const std::string& place : distinct)
      if ((place.starts_with("preset ") ? 0 : place.starts_with("--") ? 2 : 1) == rank)
        all += (all.empty() ? "" : ", ") + place;
  }
  return all.empty() ? "settings" : all;
}

nlohmann::ordered_json RunConfig::to_json() const {
  nlohmann::ordered_json json = fields_to_json(model, model::model_config_fields());
  json.update(fields_to_json(train, train_config_fields()));
  for (const tasks::TaskSetting* setting : tasks::all_task_settings())
    json[setting->key] = train.tasks.to_json(*setting);
  return json;
}

}  // namespace gca::train
