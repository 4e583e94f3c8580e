#pragma once
// gca eval of the tasks that plant something in a haystack (lib/tasks/task_kinds.h).

#include "apps/gca/options/eval_options.h"
#include "lib/core/json/json_report.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// Measures, completes `report` and shows the table.
void eval_planted(const EvalOptions& options, const model::TextModel& model, JsonReport& report);

}  // namespace gca::app
