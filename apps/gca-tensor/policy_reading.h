#pragma once
// --kv-policy of gca eval: the readers of its policies, and what their steps cost, for a report and on the screen.

#include <nlohmann/json.hpp>
#include <string>

#include "apps/gca/options/eval_options.h"
#include "lib/eval/policy_reader.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// Throws Error(usage) where the model has no cache that policies could choose from.
eval::PolicyReader policy_reader(const EvalOptions& options, const model::TextModel& model,
                                 const std::string& policy);

/// The policies that are measured, each with its settings.
nlohmann::ordered_json policies_to_json(const EvalOptions& options);

nlohmann::ordered_json step_cost_to_json(const eval::StepCost& cost);

/// Columns, and their heading.
std::string step_cost_head();
std::string step_cost_text(const eval::StepCost& cost);

}  // namespace gca::app
