#pragma once
// gca eval --kv-policy: how well the last tokens of a text are predicted under cache policies, and what they cost.

#include "apps/gca/options/eval_options.h"
#include "lib/core/json/json_report.h"
#include "lib/model/text_model.h"
#include "lib/parallel/communicator.h"

namespace gca::app {

/// Measures, completes `report` and shows the table. `ranks`, where there are, share the work; rank 0 has the report.
void eval_answers(const EvalOptions& options, const model::TextModel& model, parallel::Communicator* ranks,
                  JsonReport& report);

}  // namespace gca::app
