#pragma once
// The one flat list of settings a user sees: the model's keys and the training's, from a preset or a file,
// then --set.

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/train/train_config.h"

namespace gca {

struct RunConfig {
  ModelConfig model;
  TrainConfig train;
  /// Keys given by hand (--set, --batch): these must be obeyed or refused, never quietly replaced.
  std::set<std::string> explicit_keys;
  /// Where each key that is no default was set last: "preset small", a file, a flag.
  std::map<std::string, std::string> sources;

  /// Throws Error(usage) naming `where`: a wrong type, or an unknown key with the nearest known one.
  void set(const std::string& where, const std::string& key, const nlohmann::json& value);
  /// KEY=VALUE of --set, or of a flag that stands for a setting.
  void set_from_flag(const std::string& assignment, const std::string& flag = "--set");
  /// A preset's name, or a JSON file of any of the keys: also a checkpoint's config.json, or the report of a
  /// run, for its settings.
  void read(const std::string& preset_or_file);

  /// Several of them: presets first, then files, each in the order given.
  void read_all(const std::vector<std::string>& presets_and_files);

  /// Where settings that are no defaults come from, for errors: "preset small, --set"; "settings" where there
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

}  // namespace gca
