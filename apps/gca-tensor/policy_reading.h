#pragma once
// --kv-policy of gca eval and gca bench: the policies side by side. Of gca eval also their readers, and what their
// steps cost, for a report and on the screen.

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "apps/gca/options/eval_options.h"
#include "lib/eval/policy_reader.h"
#include "lib/model/text_model.h"

namespace gca::app {

/// Throws Error(usage) where the model has no cache that policies could choose from.
eval::PolicyReader policy_reader(const EvalOptions& options, const model::TextModel& model,
                                 const std::string& policy);

/// The policies `names`, each with its settings.
nlohmann::ordered_json policies_to_json(std::span<const std::string> names, const model::KvPolicy& settings);

nlohmann::ordered_json step_cost_to_json(const eval::StepCost& cost);

/// Columns, and their heading.
std::string step_cost_head();
std::string step_cost_text(const eval::StepCost& cost);

}  // namespace gca::app
