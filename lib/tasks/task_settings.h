#pragma once
// The settings of tasks. A TaskSetting is the one place that states the names, the default, the bounds and
// the meaning of a setting; presets, --set, phases, the flags of gca eval, help, man pages and completions
// read it.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace gca::tasks {

/// The upper bound of a setting that has no other.
inline constexpr int64_t kMostOfATaskSetting = int64_t{1} << 20;

struct TaskSetting {
  const char* key;             ///< in presets, phases and gca pretrain --set: "needle_hops"
  const char* flag = nullptr;  ///< of gca eval: "--hops"; nullptr where it matters to training alone
  int64_t default_value = 0;   ///< of a switch: 0 or 1
  int64_t least = 0;
  int64_t most = kMostOfATaskSetting;
  bool is_switch = false;  ///< true or false in JSON
  const char* help;
};

/// How errors name a setting: by its key or by its flag.
enum class SettingNames { keys, flags };

/// "needle_hops" or "--hops".
std::string name_of(const TaskSetting& setting, SettingNames names);

/// "context" or "--context".
const char* context_name(SettingNames names);

/// What errors name a task by: "passkey task" or "--task passkey".
std::string task_place(const char* task, SettingNames names);

/// Values of settings; those that were not set have their defaults.
class TaskSettings {
 public:
  int64_t operator[](const TaskSetting& setting) const;
  void set(const TaskSetting& setting, int64_t value) { values_[setting.key] = value; }
  /// Throws Error(usage) naming `where` when the type is wrong.
  void set(const TaskSetting& setting, const std::string& where, const nlohmann::json& value);
  /// A boolean where the setting is a switch.
  nlohmann::json to_json(const TaskSetting& setting) const;

 private:
  std::map<std::string, int64_t> values_;
};

/// Throws Error(usage) when a value is out of its bounds: naming the flag, or `where` and the key.
void validate_task_settings(const TaskSettings& settings, std::span<const TaskSetting* const> known,
                            SettingNames names, const std::string& where);

}  // namespace gca::tasks
