#pragma once
// The one flat list of settings a user sees: the model's keys and the training's, from a preset or a file,
// then --set.

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/train/settings/train_config.h"

namespace gca::train {

/// A preset or a JSON file of settings, read once: a pipe gives its content no second time.
struct SettingsFile {
  std::string where;  ///< what errors name: "preset small", or the file
  bool is_preset = false;
  nlohmann::json content;  ///< an object

  /// Throws Error(usage) when there is no such preset or file, or it holds no JSON object.
  static SettingsFile read(const std::string& preset_or_file);
};

struct RunConfig {
  model::ModelConfig model;
  TrainConfig train;
  /// Keys given by hand (--set, --batch): these must be obeyed or refused, never quietly replaced.
  std::set<std::string> explicit_keys;
  /// Where each key that has not its default was set last: "preset small", a file, a flag.
  std::map<std::string, std::string> sources;

  /// Throws Error(usage) naming `where`: a wrong type, or an unknown key with the nearest known one.
  void set(const std::string& where, const std::string& key, const nlohmann::json& value);
  /// The same for a number that moves: whole where the setting is.
  void set_number(const std::string& where, const std::string& key, double value);
  /// KEY=VALUE of --set, or of a flag that stands for a setting.
  void set_from_flag(const std::string& assignment, const std::string& flag = "--set");
  /// Any of the keys; also a checkpoint's config.json, or the report of a run, for its settings.
  void take(const SettingsFile& file);
  void read(const std::string& preset_or_file) { take(SettingsFile::read(preset_or_file)); }
  /// Presets first, then files, each in the order given.
  void take_all(std::span<const SettingsFile> presets_and_files);

  /// Where settings that are not defaults come from, for errors: "preset small, --set"; "settings" where there
  /// are none.
  std::string places() const;

  nlohmann::ordered_json to_json() const;
};

/// Every key of a RunConfig, the model's first.
std::vector<std::string> run_config_keys();

/// A key as help and man pages tell it.
struct Setting {
  std::string key;
  std::string meaning;
  std::string default_value;  ///< as JSON
};

/// In the order of run_config_keys().
std::vector<Setting> run_config_settings();

}  // namespace gca::train
