#include "lib/tasks/task_kinds.h"

#include <algorithm>

#include "lib/tasks/needles/needle_kinds.h"
#include "lib/tasks/recall/recall_kind.h"
#include "lib/tasks/self_copy/self_copy_kind.h"

namespace gca::tasks {
namespace {

constexpr const TaskKind* kKinds[] = {&kSelfCopyKind, &kPasskeyKind, &kMultikeyKind,
                                      &kMultihopKind, &kNumberKind,  &kRecallKind};

}  // namespace

std::span<const TaskKind* const> task_kinds() {
  return kKinds;
}

const TaskKind* find_task_kind(const std::string& name) {
  for (const TaskKind* kind : kKinds)
    if (name == kind->name) return kind;
  return nullptr;
}

std::vector<std::string> training_task_names() {
  std::vector<std::string> names = {kTextTask};
  for (const TaskKind* kind : kKinds)
    if (kind->make_sequences != nullptr) names.emplace_back(kind->name);
  return names;
}

std::vector<std::string> eval_task_names() {
  std::vector<std::string> names = {kPerplexityTask};
  for (const TaskKind* kind : kKinds)
    if (kind->make_trials != nullptr) names.emplace_back(kind->name);
  return names;
}

std::vector<const TaskSetting*> all_task_settings() {
  std::vector<const TaskSetting*> all;
  for (const TaskKind* kind : kKinds)
    for (const TaskSetting* setting : kind->settings)
      if (std::find(all.begin(), all.end(), setting) == all.end()) all.push_back(setting);
  return all;
}

const TaskSetting* find_task_setting(const std::string& key) {
  for (const TaskKind* kind : kKinds)
    for (const TaskSetting* setting : kind->settings)
      if (key == setting->key) return setting;
  return nullptr;
}

std::vector<const TaskSetting*> eval_settings(const TaskKind& kind) {
  std::vector<const TaskSetting*> settings;
  if (kind.make_trials == nullptr) return settings;
  for (const TaskSetting* setting : kind.settings)
    if (setting->flag != nullptr) settings.push_back(setting);
  return settings;
}

}  // namespace gca::tasks
