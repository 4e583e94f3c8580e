#include "apps/gca-tensor/dry_run.h"

#include <fmt/format.h>
#include <algorithm>

#include "lib/core/machine/machine_memory.h"
#include "lib/train/training_run.h"

namespace gca::app {
namespace {

/// "12 s", "3 min 20 s", "5 h 07 min", "2.5 days".
std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.{}f} s", seconds, seconds < 10 ? 1 : 0);
  const auto minutes = static_cast<int64_t>(seconds / 60);
  if (minutes < 60) return fmt::format("{} min {} s", minutes, static_cast<int64_t>(seconds) % 60);
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  return fmt::format("{:.1f} days", seconds / 86400);
}

std::string line(const std::string& name, const std::string& value) {
  return fmt::format("{:<26}{}\n", name, value);
}

std::string table_of(const nlohmann::ordered_json& result) {
  const auto number = [&](const char* name) { return result[name].get<double>(); };
  std::string table;
  if (result.contains("ranks"))
    table += line("ranks", fmt::format("{}; memory is that of each", result["ranks"].get<int64_t>()));
  table += line("parameters", fmt::format("{}", result["parameters"].get<int64_t>()));
  table += line("FLOPs per token", fmt::format("{:.4g}, forward and backward", number("flops_per_token")));
  table += line("tokens per step", fmt::format("{:.0f}", number("tokens_per_step")));
  table += line("memory, estimated", fmt::format("{} of {}", memory_text(number("memory_bytes")),
                                                 memory_text(number("available_memory_bytes"))));
  for (const auto& part : result["memory"])
    table += line("  " + part["part"].get<std::string>(), memory_text(part["bytes"].get<double>()));
  table += line("a checkpoint", fmt::format("{}, twice that on the disk while it is saved",
                                            memory_text(number("checkpoint_bytes"))));
  table += line("speed, estimated", fmt::format("{:.3g} tokens/s, {} a step", number("tokens_per_second"),
                                                duration_text(number("step_seconds"))));
  for (const auto& use : result.value("data", nlohmann::ordered_json::array())) {
    const std::string passes =
        use["passes"].is_null() ? "" : fmt::format(", {:.2f} passes", use["passes"].get<double>());
    table += line("data", fmt::format("{}: {} sequences, {} tokens{}", use["folder"].get<std::string>(),
                                      use["sequences"].get<int64_t>(), use["tokens"].get<int64_t>(), passes));
  }
  if (result["steps"].is_null())
    return table + line("time, estimated", "say how long to train: --steps, --tokens or --minutes");
  return table +
         line("time, estimated", fmt::format("{} for {} steps, {:.4g} tokens, with {} validations",
                                             duration_text(number("seconds")), result["steps"].get<int64_t>(),
                                             number("tokens"), result["validations"].get<int64_t>()));
}

}  // namespace

void finish_dry_run(JsonReport& report, const PretrainOptions& options, const model::LanguageModel& model,
                    const train::TrainConfig& config, const train::StepProbe& probe,
                    const train::MemoryEstimate& memory, RunLength length, const train::TaskData& data) {
  const int64_t validation_sequences = data.validation.sequences;
  const double step_seconds = train::estimate_step_seconds(model, config, probe);
  const double validation_seconds =
      train::estimate_validation_seconds(model, config, probe, validation_sequences);
  const double tokens_per_step =
      static_cast<double>(config.sequences_per_step()) * static_cast<double>(config.context);
  if (length.minutes > 0)
    length.steps =
        train::steps_within(60 * length.minutes, step_seconds, validation_seconds, config.eval_interval);

  nlohmann::ordered_json& result = report.result;
  result["parameters"] = model.parameter_count();
  result["flops_per_token"] = 3.0 * model.cost(config.context).forward_flops();
  result["tokens_per_step"] = tokens_per_step;
  result["memory_bytes"] = memory.total_bytes();
  result["available_memory_bytes"] = memory.available_bytes;
  result["memory"] = nlohmann::ordered_json::array();
  for (const train::EstimatedPart& part : memory.parts)
    result["memory"].push_back({{"part", part.name}, {"bytes", part.size_bytes}});
  result["checkpoint_bytes"] = train::checkpoint_size_bytes(model);
  result["tokens_per_second"] = tokens_per_step / step_seconds;
  result["step_seconds"] = step_seconds;
  result["validation_seconds"] = validation_seconds;
  for (const char* name : {"steps", "tokens", "validations", "seconds"}) result[name] = nullptr;
  if (length.steps > 0) {
    // One before the first step, one after the last, and those between.
    const int64_t between = config.eval_interval > 0 ? (length.steps - 1) / config.eval_interval : 0;
    const int64_t validations = validation_sequences > 0 ? 2 + between : 0;
    result["steps"] = length.steps;
    const auto steps = static_cast<double>(length.steps);
    const double tokens = length.tokens > 0 ? static_cast<double>(length.tokens) : steps * tokens_per_step;
    result["tokens"] = tokens;
    result["validations"] = validations;
    result["seconds"] = steps * probe.fixed_seconds +
                        tokens / tokens_per_step * (step_seconds - probe.fixed_seconds) +
                        static_cast<double>(validations) * validation_seconds;
  }
  if (data.train.uses) {
    const int64_t steps = std::max<int64_t>(length.steps, 0);
    const int64_t sequences = length.sequences > 0
                                  ? length.sequences
                                  : length.sequences_before + steps * config.sequences_per_step();
    result["data"] = train::data_uses_to_json(data.train.uses(sequences));
    if (steps == 0)
      for (auto& use : result["data"]) use["passes"] = nullptr;
  }
  finish_report(report, options.common, "", table_of(result));
}

}  // namespace gca::app
