// gca bench: how fast a model trains, reads and writes here, beside what the machine could do.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "apps/gca/commands.h"
#include "apps/gca/common_options.h"
#include "lib/bench/speed.h"
#include "lib/core/error.h"
#include "lib/core/json_report.h"
#include "lib/profile/machine_rates.h"
#include "lib/train/process_settings.h"
#include "lib/train/run_config.h"

namespace gca {
namespace {

/// The vocabulary of a preset that leaves it to the tokenizer.
constexpr int64_t kVocabSize = 16384;

struct BenchOptions {
  CommonOptions common;
  TensorOptions tensor;
  std::string config = "small";
  std::vector<std::string> settings;
  std::vector<int64_t> contexts = {4096};
  std::vector<std::string> modes;
  int64_t batch = -1;
  int64_t repeats = 5;
  int64_t decoded_tokens = 126;
  bool peak = true;
  bool profile = false;
};

const std::vector<std::string>& mode_names() {
  static const std::vector<std::string> names = {"training", "prefill", "scoring", "decoding"};
  return names;
}

RunConfig bench_config(const BenchOptions& options) {
  RunConfig config;
  config.read(options.config);
  for (const std::string& assignment : options.settings) config.set_from_flag(assignment);
  if (options.batch >= 0) config.set_from_flag("batch=" + std::to_string(options.batch));
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

void run_bench(BenchOptions& options) {
  keep_freed_memory();
  use_threads(thread_count(options.common));
  JsonReport report = begin_report("bench", options.common);
  if (options.tensor.device != "cpu")
    fail_usage("--device " + options.tensor.device, "this build runs on the CPU only", "use --device cpu");
  const RunConfig config = bench_config(options);
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

}  // namespace

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure training, prefill and decoding on this machine");
  command
      ->add_option("--config", options->config,
                   "Preset (nano, mini, small, 128m, 350m) or JSON file (default: small)")
      ->type_name("NAME");
  command->add_option("--set", options->settings, "One setting, KEY=VALUE; may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  add_size_list_option(*command, "--context", options->contexts,
                       "Text tokens of a sequence, or of the past when decoding (default: 4K)");
  command
      ->add_option("--mode", options->modes,
                   "training, prefill, scoring (prefill with all logits), decoding; separated by commas "
                   "(default: all)")
      ->delimiter(',')
      ->check(CLI::IsMember(mode_names()))
      ->type_name("NAME,...");
  add_size_option(*command, "--batch", options->batch, "Sequences of a micro-batch, as --set batch=N");
  add_size_option(*command, "--repeats", options->repeats, "Measured runs of each row (default: 5)");
  add_size_option(*command, "--decode-tokens", options->decoded_tokens,
                  "Tokens of one run of decoding (default: 126)");
  command->add_flag("--peak,!--no-peak", options->peak,
                    "Measure this machine's matrix products and memory, for the utilization (default)");
  command->add_flag("--profile", options->profile, "Tell where the time of each row goes, by operator");
  add_common_options(*command, options->common);
  add_tensor_options(*command, options->tensor);
  command->callback([options] {
    if (options->repeats < 1) fail_usage("--repeats", "is below 1", "1 is the least");
    if (options->decoded_tokens < 1) fail_usage("--decode-tokens", "is below 1", "1 is the least");
    for (const int64_t context : options->contexts)
      if (context < 2) fail_usage("--context", "is below 2", "a text has at least two tokens");
    run_bench(*options);
  });
}

}  // namespace gca
