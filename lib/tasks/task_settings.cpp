#include "lib/tasks/task_settings.h"

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/json/config_fields.h"
#include "lib/core/size_suffix.h"

namespace gca::tasks {

std::string name_of(const TaskSetting& setting, SettingNames names) {
  return names == SettingNames::flags && setting.flag != nullptr ? setting.flag : setting.key;
}

const char* context_name(SettingNames names) {
  return names == SettingNames::flags ? "--context" : "context";
}

std::string task_place(const char* task, SettingNames names) {
  return names == SettingNames::flags ? std::string("--task ") + task : std::string(task) + " task";
}

int64_t TaskSettings::operator[](const TaskSetting& setting) const {
  const auto found = values_.find(setting.key);
  return found == values_.end() ? setting.default_value : found->second;
}

void TaskSettings::set(const TaskSetting& setting, const std::string& where, const nlohmann::json& value) {
  if (setting.is_switch) {
    bool is_on = false;
    detail::read_value(where, setting.key, value, is_on);
    set(setting, is_on ? 1 : 0);
  } else {
    int64_t number = 0;
    detail::read_value(where, setting.key, value, number);
    set(setting, number);
  }
}

nlohmann::json TaskSettings::to_json(const TaskSetting& setting) const {
  const int64_t value = (*this)[setting];
  return setting.is_switch ? nlohmann::json(value != 0) : nlohmann::json(value);
}

void validate_task_settings(const TaskSettings& settings, std::span<const TaskSetting* const> known,
                            SettingNames names, const std::string& where) {
  for (const TaskSetting* setting : known) {
    const int64_t value = settings[*setting];
    if (value >= setting->least && value <= setting->most) continue;
    const std::string right = fmt::format("give {} to {}", setting->least, size_text(setting->most));
    if (names == SettingNames::flags)
      fail_usage(setting->flag, fmt::format("{} is out of range", value), right);
    fail_usage(where, std::string(setting->key) + " is out of range", right);
  }
}

}  // namespace gca::tasks
