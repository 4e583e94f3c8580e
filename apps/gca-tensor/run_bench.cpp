// gca bench: how fast a model trains, reads and writes here, beside what the machine could do.

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/options/bench_options.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/tensor_stages.h"
#include "kernels/common/instruction_set.h"
#include "lib/bench/speed.h"
#include "lib/core/error.h"
#include "lib/core/json/json_report.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/profile/machine_rates.h"
#include "lib/train/settings/run_config.h"
#include "lib/train/step/process_settings.h"

namespace gca::app {
namespace {

/// The vocabulary of a preset that leaves it to the tokenizer.
constexpr int64_t kVocabSize = 16384;

train::RunConfig bench_config(const BenchOptions& options) {
  train::RunConfig config;
  config.read(options.config);
  for (const std::string& assignment : options.settings) config.set_from_flag(assignment);
  if (options.batch >= 0) config.set_from_flag("batch=" + std::to_string(options.batch), "--batch");
  if (config.model.vocab_size == 0) config.model.vocab_size = kVocabSize;
  config.model.validate("--config " + options.config);
  config.train.validate("--config " + options.config);
  return config;
}

/// Those asked for, else all that these weights take part in.
std::vector<std::string> modes_of(const BenchOptions& options) {
  const bool trains = weight_dtype_of(options.tensor) == model::WeightDtype::compute;
  std::vector<std::string> modes = options.modes.empty() ? mode_names() : options.modes;
  const auto training = std::find(modes.begin(), modes.end(), "training");
  if (trains || training == modes.end()) return modes;
  if (!options.modes.empty())
    fail_usage("--mode training", "is not possible with --weight-dtype int8",
               "leave one of them out; prefill, scoring and decoding are");
  modes.erase(training);
  return modes;
}

void choose_instruction_set(const BenchOptions& options) {
  if (options.instruction_set.empty()) return;
  try {
    kernels::use_instruction_set(options.instruction_set);
  } catch (const std::invalid_argument& error) {
    fail_usage("--isa", error.what(), "choose one of these, or leave the flag out");
  }
}

bench::SpeedResult measure(const std::string& mode, model::LanguageModel& model,
                           const train::TrainConfig& train, const bench::SpeedSettings& settings) {
  if (mode == "training") return bench::measure_training(model, train, settings);
  if (mode == "decoding") return bench::measure_decoding(model, settings);
  return bench::measure_prefill(model, mode == "scoring", settings);
}

nlohmann::ordered_json row_of(const std::string& mode, int64_t context, const bench::SpeedResult& speed) {
  const auto tokens = static_cast<double>(speed.tokens);
  nlohmann::ordered_json row;
  row["mode"] = mode;
  row["context"] = context;
  row["tokens"] = speed.tokens;
  row["positions"] = speed.positions;
  row["median_seconds"] = speed.median_seconds;
  row["tokens_per_second"] = tokens / speed.median_seconds;
  row["positions_per_second"] = static_cast<double>(speed.positions) / speed.median_seconds;
  row["flops_per_token"] = speed.flops / tokens;
  if (speed.bytes > 0) row["bytes_per_token"] = speed.bytes / tokens;
  row["utilization"] = nullptr;
  return row;
}

/// Of the rate of reads where a row says how many bytes it must read, else of the rate of products.
void set_utilization(nlohmann::ordered_json& row, const profile::MachineRates& machine) {
  const bool reads = row.contains("bytes_per_token");
  const double work_per_token = row[reads ? "bytes_per_token" : "flops_per_token"];
  const double limit = reads ? machine.bytes_per_second() : machine.flops_per_second();
  row["utilization"] = work_per_token * row["tokens_per_second"].get<double>() / limit;
}

std::string line_of(const nlohmann::ordered_json& row) {
  const auto& utilization = row["utilization"];
  return fmt::format("{:<10}{:>10}{:>12.1f}{:>14.1f}{:>12.2f}  {}\n", row["mode"].get<std::string>(),
                     row["context"].get<int64_t>(), row["tokens_per_second"].get<double>(),
                     row["positions_per_second"].get<double>(), 1e3 * row["median_seconds"].get<double>(),
                     utilization.is_null()
                         ? "-"
                         : fmt::format("{:.1f} % of the {}", 100 * utilization.get<double>(),
                                       row.contains("bytes_per_token") ? "memory rate" : "product rate"));
}

}  // namespace

void run_bench(const BenchOptions& options) {
  train::keep_freed_memory();
  train::use_threads(thread_count(options.common));
  choose_instruction_set(options);
  JsonReport report = begin_tensor_report("bench", options.common, options.tensor);
  require_free_memory_place(options.memory);
  const train::RunConfig config = bench_config(options);
  std::optional<model::MemoryPlace> memory;
  if (options.chooses_memory()) memory = model::MemoryPlace::of(options.memory, options.memory_dtype);
  const std::string dtype = resolved_dtype(options.tensor);
  const std::string weight_dtype = resolved_weight_dtype(options.tensor);
  const at::ScalarType scalar_type = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  const std::vector<std::string> modes = modes_of(options);
  model::LanguageModel model(config.model, scalar_type, at::kCPU, weight_dtype_of(options.tensor));
  model.initialise(options.common.seed);
  model.refresh_compute_weights();

  profile::MachineRates machine(scalar_type);
  const auto measure_machine = [&] {
    if (!options.peak) return;
    machine.measure_products();
    machine.measure_reads();
  };
  measure_machine();

  std::string profiles;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const int64_t context : options.contexts) {
    for (const std::string& mode : modes) {
      profile::OperatorProfile profile;
      bench::SpeedSettings settings;
      settings.context = context;
      settings.repeats = static_cast<int>(options.repeats);
      settings.seed = options.common.seed;
      settings.decoded_tokens = options.decoded_tokens;
      if (options.profile) settings.profile = &profile;
      settings.memory = memory;
      const bench::SpeedResult speed = measure(mode, model, config.train, settings);
      measure_machine();
      rows.push_back(row_of(mode, context, speed));
      if (options.profile) {
        rows.back()["profile"] = profile.to_json();
        profiles += fmt::format("\n{} at {}\n{}", mode, context, profile.table());
      }
    }
  }

  std::string table;
  for (auto& row : rows) {
    if (options.peak) set_utilization(row, machine);
    table += line_of(row);
  }

  report.config = config.to_json();
  report.config["dtype"] = dtype;
  report.config["weight_dtype"] = weight_dtype;
  report.config["repeats"] = options.repeats;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  report.result["parameters"] = model.parameter_count();
  report.result["rows"] = std::move(rows);
  report.result["peak_gflops"] = nullptr;
  report.result["memory_gigabytes_per_second"] = nullptr;
  std::string header = fmt::format("{} parameters, {}, {}, {} threads, median of {}", model.parameter_count(),
                                   weight_dtype == dtype ? dtype : dtype + " with weights in " + weight_dtype,
                                   report.instruction_set, thread_count(options.common), options.repeats);
  if (options.peak) {
    report.result["peak_gflops"] = machine.flops_per_second() / 1e9;
    report.result["memory_gigabytes_per_second"] = machine.bytes_per_second() / 1e9;
    header += fmt::format("; this machine: {:.0f} GFLOP/s in products, {:.1f} GB/s read",
                          machine.flops_per_second() / 1e9, machine.bytes_per_second() / 1e9);
  }
  report.result["peak_memory_bytes"] = peak_memory_bytes();
  header += fmt::format("\n\n{:<10}{:>10}{:>12}{:>14}{:>12}  {}\n", "mode", "context", "tokens/s",
                        "positions/s", "ms", "utilization");
  finish_report(report, options.common, "", header + table + profiles);
}

}  // namespace gca::app
