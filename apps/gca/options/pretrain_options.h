#pragma once
// What the command line of gca pretrain says.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "lib/tasks/task_kinds.h"
#include "lib/train/settings/run_config.h"

namespace gca::app {

struct PretrainOptions {
  CommonOptions common;
  TensorOptions tensor;
  std::vector<std::string> data;  ///< words of --data (lib/train/data/weighted_data.h)
  std::string valid;
  std::vector<std::string> configs;               ///< presets and files
  std::vector<train::SettingsFile> config_files;  ///< what they say (read_input_files())
  std::vector<std::string> settings;
  std::string output;
  std::string init;
  std::string branch;                ///< checkpoint whose run goes on in `output`
  std::vector<std::string> changes;  ///< KEY=VALUE of settings that change as the run goes on
  std::vector<std::string> keep;     ///< "best", or how many
  std::string task = tasks::kTextTask;
  std::string phases;          ///< file
  nlohmann::json phases_json;  ///< its content, or that of a report given as --config; null for none
  int64_t steps = -1;          ///< -1: not given
  int64_t tokens = -1;
  double minutes = -1.0;
  int64_t batch = -1;
  std::string start_up;  ///< empty: not given
  int64_t stop_at = 0;
  int timeout_seconds = kTrainingTimeoutSeconds;
  int context_parallel = 1;          ///< ranks that share a text
  std::string cp_scheme = "gather";  ///< of full attention
  bool resume = false;
  bool overwrite = false;
  bool peak = false;
  bool profile = false;
  bool tensorboard = false;
  bool print_config = false;
  bool dry_run = false;
  std::set<std::string> given;  ///< flags on the command line: "--task"

  /// Does it go on with a run that was begun before?
  bool goes_on() const { return resume || !branch.empty(); }
  bool is_given(const std::string& flag) const { return given.contains(flag); }
};

}  // namespace gca::app
