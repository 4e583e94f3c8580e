#pragma once
// passkey, multikey, multihop and number in the list of tasks (lib/tasks/task_kinds.h).

#include <memory>

#include "lib/tasks/needles/needle_task.h"
#include "lib/tasks/task_kind.h"

namespace gca::tasks {

extern const TaskKind kPasskeyKind;
extern const TaskKind kMultikeyKind;
extern const TaskKind kMultihopKind;
extern const TaskKind kNumberKind;

/// The trials of `task` whose texts have at most `context` tokens. `haystack` is only asked for its size.
std::unique_ptr<TaskTrials> needle_trials(NeedleTask task, int64_t context, const data::Haystack& haystack);

}  // namespace gca::tasks
