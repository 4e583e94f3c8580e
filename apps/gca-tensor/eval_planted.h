#pragma once
// gca eval of the tasks that plant something in a haystack (lib/tasks/task_kinds.h).

#include "apps/gca/options/eval_options.h"
#include "lib/core/json/json_report.h"
#include "lib/model/text_model.h"
#include "lib/parallel/communicator.h"

namespace gca::app {

/// Measures, completes `report` and shows the table. `ranks`, where there are, share the work; rank 0 has the report.
void eval_planted(const EvalOptions& options, const model::TextModel& model, parallel::Communicator* ranks,
                  JsonReport& report);

}  // namespace gca::app
