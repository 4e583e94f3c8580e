#pragma once
// The list of tasks. An entry here and a folder beside this file add one.

#include <span>
#include <string>
#include <vector>

#include "lib/tasks/task_kind.h"

namespace gca::tasks {

/// Training on the text of --data as it is, and measuring how well it is predicted: what --task says where it
/// names no kind.
inline constexpr const char* kTextTask = "text";
inline constexpr const char* kPerplexityTask = "perplexity";

/// In the order of the help.
std::span<const TaskKind* const> task_kinds();

/// nullptr for a name that is not a kind.
const TaskKind* find_task_kind(const std::string& name);

/// Values of gca pretrain --task: kTextTask and the kinds that can be trained on.
std::vector<std::string> training_task_names();
/// Values of gca eval --task: kPerplexityTask and the kinds that can be measured.
std::vector<std::string> eval_task_names();

/// The settings of all kinds, each once.
std::vector<const TaskSetting*> all_task_settings();
/// By key; nullptr for another.
const TaskSetting* find_task_setting(const std::string& key);
/// The settings of `kind` that gca eval has flags for.
std::vector<const TaskSetting*> eval_settings(const TaskKind& kind);

}  // namespace gca::tasks
