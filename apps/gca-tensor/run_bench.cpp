// gca bench: how fast a model trains, reads and writes here, beside what the machine could do.

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "apps/gca/bench_options.h"
#include "apps/gca/common_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/bench/speed.h"
#include "lib/core/error.h"
#include "lib/core/json_report.h"
#include "lib/core/machine_memory.h"
#include "lib/profile/machine_rates.h"
#include "lib/train/process_settings.h"
#include "lib/train/run_config.h"

namespace gca {
namespace {

/// The vocabulary of a preset that leaves it to the tokenizer.
constexpr int64_t kVocabSize = 16384;

RunConfig bench_config(const BenchOptions& options) {
  RunConfig config;
  config.read(options.config);
  for (const std::string& assignment : options.settings) config.set_from_flag(assignment);
  if (options.batch >= 0) config.set_from_flag("batch=" + std::to_string(options.batch), "--batch");
  if (config.model.vocab_size == 0) config.model.vocab_size = kVocabSize;
  config.model.validate("--config " + options.config);
  config.train.validate("--config " + options.config);
  return config;
}

SpeedResult measure(const std::string& mode, Drt& model, const TrainConfig& train,
                    const SpeedSettings& settings) {
  if (mode == "training") return measure_training(model, train, settings);
  if (mode == "decoding") return measure_decoding(model, settings);
  return measure_prefill(model, mode == "scoring", settings);
}

/// What a row's utilization is measured against; 0: nothing was measured.
struct Limits {
  double flops = 0;
  double bytes = 0;
};

nlohmann::ordered_json row_of(const std::string& mode, int64_t context, const SpeedResult& speed,
                              const Limits& limits) {
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
  const bool reads = speed.bytes > 0;
  const double limit = reads ? limits.bytes : limits.flops;
  row["utilization"] = nullptr;
  if (limit > 0) row["utilization"] = (reads ? speed.bytes : speed.flops) / speed.median_seconds / limit;
  return row;
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
  keep_freed_memory();
  use_threads(thread_count(options.common));
  JsonReport report = begin_report("bench", options.common, options.tensor);
  const RunConfig config = bench_config(options);
  std::optional<MemoryPlace> memory;
  if (options.chooses_memory()) memory = MemoryPlace::of(options.memory, options.memory_dtype);
  const std::string dtype = resolved_dtype(options.tensor);
  const at::ScalarType scalar_type = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  Drt model(config.model, scalar_type);
  model.initialise(options.common.seed);
  model.refresh_compute_weights();

  Limits limits;
  if (options.peak) limits = {.flops = measure_peak_flops(scalar_type), .bytes = measure_read_rate()};

  std::string table;
  std::string profiles;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const int64_t context : options.contexts) {
    for (const std::string& mode : options.modes.empty() ? mode_names() : options.modes) {
      OperatorProfile profile;
      SpeedSettings settings;
      settings.context = context;
      settings.repeats = static_cast<int>(options.repeats);
      settings.seed = options.common.seed;
      settings.decoded_tokens = options.decoded_tokens;
      if (options.profile) settings.profile = &profile;
      settings.memory = memory;
      const SpeedResult speed = measure(mode, model, config.train, settings);
      rows.push_back(row_of(mode, context, speed, limits));
      table += line_of(rows.back());
      if (options.profile) {
        rows.back()["profile"] = profile.to_json();
        profiles += fmt::format("\n{} at {}\n{}", mode, context, profile.table());
      }
    }
  }

  report.config = config.to_json();
  report.config["dtype"] = dtype;
  report.config["repeats"] = options.repeats;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  report.result["parameters"] = model.parameter_count();
  report.result["rows"] = std::move(rows);
  report.result["peak_gflops"] = nullptr;
  report.result["memory_gigabytes_per_second"] = nullptr;
  std::string header = fmt::format("{} parameters, {}, {} threads, median of {}", model.parameter_count(),
                                   dtype, thread_count(options.common), options.repeats);
  if (options.peak) {
    report.result["peak_gflops"] = limits.flops / 1e9;
    report.result["memory_gigabytes_per_second"] = limits.bytes / 1e9;
    header += fmt::format("; this machine: {:.0f} GFLOP/s in products, {:.1f} GB/s read", limits.flops / 1e9,
                          limits.bytes / 1e9);
  }
  report.result["peak_memory_bytes"] = peak_memory_bytes();
  header += fmt::format("\n\n{:<10}{:>10}{:>12}{:>14}{:>12}  {}\n", "mode", "context", "tokens/s",
                        "positions/s", "ms", "utilization");
  finish_report(report, options.common, "", header + table + profiles);
}

}  // namespace gca
