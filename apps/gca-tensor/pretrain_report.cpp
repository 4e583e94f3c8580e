#include "apps/gca-tensor/pretrain_report.h"

#include <fmt/format.h>

#include "lib/core/json/json_number.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/profile/machine_rates.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/checkpoints/kept_checkpoints.h"
#include "lib/train/data/weighted_data.h"

namespace gca::app {

nlohmann::ordered_json pretrain_config_of(const PretrainOptions& options, const train::TrainerState& state,
                                          const train::RunConfig& config) {
  nlohmann::ordered_json json = config.to_json();
  json["task"] = state.task;
  if (!state.phases.is_null()) json["phases"] = state.phases;
  json["dtype"] = state.dtype;
  json["data"] = train::data_to_json(state.data);
  json["valid"] = state.valid;
  json["output"] = options.output;
  json["init"] = options.init;
  if (!options.branch.empty()) json["branch"] = options.branch;
  return json;
}

nlohmann::ordered_json pretrain_result_of(const PretrainOptions& options, const model::LanguageModel& model,
                                          const train::TrainerState& state, const train::TaskData& data) {
  const double tokens_per_second =
      state.train_seconds > 0 ? static_cast<double>(state.tokens) / state.train_seconds : 0.0;
  const double flops_per_token = 3.0 * model.cost(state.train.context).forward_flops();
  nlohmann::ordered_json result;
  result["parameters"] = model.parameter_count();
  result["steps"] = state.step;
  result["planned_steps"] = state.total_steps;
  if (state.ranks > 1) result["ranks"] = state.ranks;
  result["tokens"] = state.tokens;
  result["tokens_per_second"] = tokens_per_second;
  result["flops_per_token"] = flops_per_token;
  result["utilization"] = nullptr;
  result["peak_gflops"] = nullptr;
  if (options.peak) {
    constexpr int kRounds = 5;
    profile::MachineRates machine(model.compute_dtype());
    for (int round = 0; round < kRounds; ++round) machine.measure_products();
    result["utilization"] = tokens_per_second * flops_per_token / machine.flops_per_second();
    result["peak_gflops"] = machine.flops_per_second() / 1e9;
  }
  result["peak_memory_bytes"] = peak_memory_bytes();
  result["train_loss"] = number_or_null(state.train_loss());
  result["valid"] = nlohmann::ordered_json::array();
  for (const train::ValidationResult& one : state.valid_results)
    result["valid"].push_back(train::validation_to_json(one));
  if (data.chance > 0) {
    result["copy_accuracy"] =
        state.valid_results.empty() ? nullptr : number_or_null(state.valid_results.back().accuracy);
    result["copy_chance"] = data.chance;
  }
  for (const train::SettingChange& change : state.changes)
    result["changes"].push_back(train::setting_change_to_json(change));
  if (data.train.uses) result["data"] = train::data_uses_to_json(data.train.uses(state.sequences));
  result["checkpoint"] = train::checkpoint_folder(options.output);
  for (const train::KeptCheckpoint& kept : train::list_kept_checkpoints(options.output))
    result["kept"].push_back(
        {{"checkpoint", kept.folder}, {"step", kept.step}, {"valid_loss", number_or_null(kept.valid_loss)}});
  return result;
}

std::string pretrain_table_of(const nlohmann::ordered_json& result) {
  std::string table =
      fmt::format("{:<20}{}\n{:<20}{}\n{:<20}{}\n{:<20}{:.0f}\n", "parameters",
                  result["parameters"].get<int64_t>(), "steps", result["steps"].get<int64_t>(), "tokens",
                  result["tokens"].get<int64_t>(), "tokens/s", result["tokens_per_second"].get<double>());
  const auto line = [&](const char* name, const nlohmann::ordered_json& value) {
    if (value.is_number()) table += fmt::format("{:<20}{:.4f}\n", name, value.get<double>());
  };
  for (const auto& use : result.value("data", nlohmann::ordered_json::array()))
    table += fmt::format("{:<20}{:.2f} over {}\n", "passes", use["passes"].get<double>(),
                         use["folder"].get<std::string>());
  line("utilization", result["utilization"]);
  line("train loss", result["train_loss"]);
  if (!result["valid"].empty()) {
    const auto& last = result["valid"].back();
    line("valid loss", last["loss"]);
    line("valid perplexity", last["perplexity"]);
    line("bits per byte", last["bits_per_byte"]);
  }
  if (result.contains("copy_accuracy")) {
    line("copy accuracy", result["copy_accuracy"]);
    line("chance", result["copy_chance"]);
  }
  table += fmt::format("{:<20}{}\n", "checkpoint", result["checkpoint"].get<std::string>());
  if (!result.contains("kept")) return table;
  for (const auto& kept : result["kept"]) {
    table += fmt::format("{:<20}{}", "kept", kept["checkpoint"].get<std::string>());
    if (kept["valid_loss"].is_number())
      table += fmt::format(", valid loss {:.4f} at step {}", kept["valid_loss"].get<double>(),
                           kept["step"].get<int64_t>());
    table += "\n";
  }
  return table;
}

}  // namespace gca::app
