#pragma once
// recall in the list of tasks (lib/tasks/task_kinds.h).

#include "lib/tasks/task_kind.h"

namespace gca::tasks {

extern const TaskKind kRecallKind;

}  // namespace gca::tasks
