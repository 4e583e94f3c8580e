// gca bench: how fast a model trains, reads and writes here, beside what the machine could do.

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/policy_reading.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/options/bench_options.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/kv_policy_options.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/tensor_stages.h"
#include "kernels/common/instruction_set.h"
#include "lib/bench/speed.h"
#include "lib/core/error.h"
#include "lib/core/json/json_report.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/checkpoint_folder.h"
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

/// Of random weights, or of a checkpoint, whose settings `config` then has.
model::LanguageModel open_model(const BenchOptions& options, train::RunConfig& config,
                                at::ScalarType scalar_type) {
  const model::WeightDtype weight_dtype = weight_dtype_of(options.tensor);
  if (!options.checkpoint.empty()) {
    const std::string folder = model::find_checkpoint(options.checkpoint, "--checkpoint");
    config.model = model::read_model_config(folder);
    return model::load_model(folder, scalar_type, at::kCPU, weight_dtype);
  }
  config = bench_config(options);
  model::LanguageModel model(config.model, scalar_type, at::kCPU, weight_dtype);
  model.initialise(options.common.seed);
  model.refresh_compute_weights();
  return model;
}

/// Those asked for, else all that these weights take part in.
std::vector<std::string> modes_of(const BenchOptions& options) {
  if (!options.kv_policies.empty()) return {"decoding"};
  const bool has_int8 = weight_dtype_of(options.tensor) == model::WeightDtype::int8;
  std::vector<std::string> modes = options.modes.empty() ? mode_names() : options.modes;
  const auto training = std::find(modes.begin(), modes.end(), "training");
  if ((!has_int8 && options.checkpoint.empty()) || training == modes.end()) return modes;
  if (!options.modes.empty())
    fail_usage("--mode training",
               std::string("is not possible with ") + (has_int8 ? "--weight-dtype int8" : "--checkpoint"),
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

/// A mode, or decoding under a cache policy.
struct Measurement {
  std::string mode;
  std::string kv_policy = {};

  /// As a table calls it: "decoding sink".
  std::string name() const { return kv_policy.empty() ? mode : mode + " " + kv_policy; }
};

std::vector<Measurement> measurements_of(const BenchOptions& options) {
  std::vector<Measurement> all;
  for (const std::string& mode : modes_of(options)) {
    if (options.kv_policies.empty()) all.push_back({mode});
    for (const std::string& policy : options.kv_policies) all.push_back({mode, policy});
  }
  return all;
}

nlohmann::ordered_json row_of(const Measurement& measurement, int64_t context,
                              const bench::SpeedResult& speed) {
  const auto tokens = static_cast<double>(speed.tokens);
  nlohmann::ordered_json row;
  row["mode"] = measurement.mode;
  if (!measurement.kv_policy.empty()) row["kv_policy"] = measurement.kv_policy;
  row["context"] = context;
  row["tokens"] = speed.tokens;
  row["positions"] = speed.positions;
  row["median_seconds"] = speed.median_seconds;
  row["tokens_per_second"] = tokens / speed.median_seconds;
  row["positions_per_second"] = static_cast<double>(speed.positions) / speed.median_seconds;
  row["flops_per_token"] = speed.flops / tokens;
  if (speed.bytes > 0) row["bytes_per_token"] = speed.bytes / tokens;
  if (measurement.mode == "decoding") row["state_bytes"] = speed.state_bytes;
  if (speed.kv_reads) {
    row["ms_per_token"] = 1e3 * speed.median_seconds / tokens;
    row["kv_bytes_per_token"] = speed.kv_reads->bytes / tokens;
    row["share_read"] = speed.kv_reads->share_read();
    row["kv_cache_bytes"] = speed.kv_cache_bytes;
  }
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

/// What a token decoded under a policy took.
std::string policy_columns(const nlohmann::ordered_json& row) {
  if (!row.contains("kv_policy")) return "";
  return fmt::format("  {:.2f} ms and {:.1f} MB a token, {:.1f} % of rows read",
                     row["ms_per_token"].get<double>(), row["bytes_per_token"].get<double>() / 1e6,
                     100 * row["share_read"].get<double>());
}

std::string line_of(const nlohmann::ordered_json& row) {
  const auto& utilization = row["utilization"];
  return fmt::format("{:<18}{:>10}{:>12.1f}{:>14.1f}{:>12.2f}  {}{}\n",
                     Measurement{row["mode"], row.value("kv_policy", "")}.name(),
                     row["context"].get<int64_t>(), row["tokens_per_second"].get<double>(),
                     row["positions_per_second"].get<double>(), 1e3 * row["median_seconds"].get<double>(),
                     utilization.is_null()
                         ? "-"
                         : fmt::format("{:.1f} % of the {}", 100 * utilization.get<double>(),
                                       row.contains("bytes_per_token") ? "memory rate" : "product rate"),
                     policy_columns(row));
}

}  // namespace

void run_bench(const BenchOptions& options) {
  train::keep_freed_memory();
  train::use_threads(thread_count(options.common));
  choose_instruction_set(options);
  JsonReport report = begin_tensor_report("bench", options.common, options.tensor);
  require_free_memory_place(options.memory);
  std::optional<model::MemoryPlace> memory;
  if (options.chooses_memory()) memory = model::MemoryPlace::of(options.memory, options.memory_dtype);
  const std::string dtype = resolved_dtype(options.tensor);
  const std::string weight_dtype = resolved_weight_dtype(options.tensor);
  const at::ScalarType scalar_type = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  const std::vector<Measurement> measurements = measurements_of(options);
  train::RunConfig config;
  model::LanguageModel model = open_model(options, config, scalar_type);
  model::require_choice_without_vectors(model.config(), "retriever", "the text of a benchmark");
  if (!options.kv_policies.empty() && model.begin()->kv_cache() == nullptr)
    fail_usage("--kv-policy " + options.kv_policies.front(), "this model has no cache of the whole text",
               "give a model with self_attention full, or leave it out");

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
    for (const Measurement& measurement : measurements) {
      profile::OperatorProfile profile;
      bench::SpeedSettings settings;
      settings.context = context;
      settings.repeats = static_cast<int>(options.repeats);
      settings.seed = options.common.seed;
      settings.decoded_tokens = options.decoded_tokens;
      if (options.profile) settings.profile = &profile;
      settings.memory = memory;
      settings.question_tokens = options.question_tokens;
      if (!measurement.kv_policy.empty())
        settings.kv_policy = named(options.kv_settings, measurement.kv_policy);
      const bench::SpeedResult speed = measure(measurement.mode, model, config.train, settings);
      measure_machine();
      rows.push_back(row_of(measurement, context, speed));
      if (options.profile) {
        rows.back()["profile"] = profile.to_json();
        profiles += fmt::format("\n{} at {}\n{}", measurement.name(), context, profile.table());
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
  report.config["checkpoint"] = options.checkpoint;
  if (!options.kv_policies.empty()) {
    report.config["kv_policies"] = policies_to_json(options.kv_policies, options.kv_settings);
    report.config["kv_dtype"] = resolved_kv_dtype(options.tensor);
    report.config["question_tokens"] = options.question_tokens;
  }
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
  header += fmt::format("\n\n{:<18}{:>10}{:>12}{:>14}{:>12}  {}\n", "mode", "context", "tokens/s",
                        "positions/s", "ms", "utilization");
  finish_report(report, options.common, "", header + table + profiles);
}

}  // namespace gca::app
