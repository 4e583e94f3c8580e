#include "apps/gca-tensor/policy_reading.h"

#include <fmt/format.h>

#include "apps/gca/options/kv_policy_options.h"
#include "apps/gca/process/interrupt.h"
#include "lib/core/error.h"

namespace gca::app {

eval::PolicyReader policy_reader(const EvalOptions& options, const model::TextModel& model,
                                 const std::string& policy) {
  if (model.model.begin()->kv_cache() == nullptr)
    fail_usage("--kv-policy " + policy, model.folder + " has no cache of the whole text",
               "give a model with self_attention full, or leave it out");
  return {model.model,
          {.policy = named(options.kv_settings, policy),
           .start_tokens = model.start_tokens,
           .segment_positions = options.segment_positions,
           .progress = throw_if_interrupted}};
}

nlohmann::ordered_json policies_to_json(std::span<const std::string> names, const model::KvPolicy& settings) {
  nlohmann::ordered_json policies = nlohmann::ordered_json::array();
  for (const std::string& name : names) policies.push_back(model::kv_policy_to_json(named(settings, name)));
  return policies;
}

nlohmann::ordered_json step_cost_to_json(const eval::StepCost& cost) {
  nlohmann::ordered_json json = {{"steps", cost.steps},
                                 {"ms_per_token", cost.ms_per_step()},
                                 {"bytes_per_token", cost.bytes_per_step()},
                                 {"share_read", cost.reads.share_read()},
                                 {"cache_bytes", cost.cache_bytes},
                                 {"prompt_seconds", cost.prompt_seconds}};
  if (!cost.full_steps.empty()) json["full_steps"] = cost.full_steps;
  return json;
}

std::string step_cost_head() {
  return fmt::format("{:>9} {:>10} {:>7} {:>7}", "ms/token", "MB/token", "read", "full");
}

std::string step_cost_text(const eval::StepCost& cost) {
  return fmt::format("{:>9.2f} {:>10.3f} {:>6.1f}% {:>7}", cost.ms_per_step(), cost.bytes_per_step() / 1e6,
                     100 * cost.reads.share_read(),
                     cost.full_steps.empty() ? "" : fmt::format("{:.1f}%", 100 * cost.share_of_full_steps()));
}

}  // namespace gca::app
