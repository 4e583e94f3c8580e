// gca pretrain: sequences to a checkpoint.

#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "apps/gca/commands.h"
#include "apps/gca/common_options.h"
#include "apps/gca/interrupt.h"
#include "apps/gca/pretrain_config.h"
#include "apps/gca/pretrain_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/profile/machine_rates.h"
#include "lib/profile/operator_profile.h"
#include "lib/text/tokenizer.h"
#include "lib/train/checkpoint.h"
#include "lib/train/process_settings.h"
#include "lib/train/resume_rules.h"
#include "lib/train/run_lock.h"
#include "lib/train/task_data.h"
#include "lib/train/training_run.h"
#include "lib/train/validation.h"

namespace gca {
namespace {

/// Part of --minutes after which no further step is measured.
constexpr double kMeasuredPart = 0.05;

at::ScalarType scalar_type(const std::string& dtype) {
  return dtype == "bf16" ? at::kBFloat16 : at::kFloat;
}

/// A fine-tuned model must read the ids that it was trained on.
void require_tokenizer_of(const std::string& checkpoint, const TaskData& data) {
  const std::string path = checkpoint + "/tokenizer.model";
  if (data.tokenizer_fingerprint.empty() || !std::filesystem::exists(path)) return;
  if (Tokenizer::load(path).fingerprint() != data.tokenizer_fingerprint)
    fail_usage("--init " + checkpoint, "its tokenizer is not that of the data",
               "run gca tokenize with --tokenizer " + path);
}

/// Steps of a run that begins; --minutes is turned into steps once, here, so that the run can be repeated and
/// resumed.
int64_t planned_steps(const PretrainOptions& options, const RunConfig& config, const TaskData& data,
                      Trainer& trainer, double elapsed_seconds) {
  if (options.steps >= 0) return options.steps;
  if (options.tokens >= 0) {
    const int64_t each = config.train.sequences_per_step() * config.train.context;
    return (options.tokens + each - 1) / each;
  }
  const JsonReport clock("", {});
  ValidationSource probe = data.validation;
  probe.sequences = std::min(probe.sequences, config.train.batch);
  double validation_seconds = 0.0;
  if (probe.sequences > 0) {
    validate(trainer.model(), probe, config.train.batch);
    validation_seconds = clock.elapsed_seconds() * static_cast<double>(data.validation.sequences) /
                         static_cast<double>(probe.sequences);
  }
  const double step_seconds = trainer.measure_step_seconds(kMeasuredPart * 60.0 * options.minutes);
  return steps_within(60.0 * options.minutes - elapsed_seconds - clock.elapsed_seconds(), step_seconds,
                      validation_seconds, config.train.eval_interval);
}

/// Where a resumed run is to end: as planned, unless the command line says otherwise.
int64_t resumed_steps(const PretrainOptions& options, const TrainerState& state) {
  int64_t total = state.total_steps;
  if (options.minutes >= 0)
    fail_usage("--minutes", fmt::format("the run was planned as {} steps when it began", total),
               "leave --minutes out, or give --steps");
  if (options.steps >= 0) total = options.steps;
  if (options.tokens >= 0) {
    const int64_t each = state.train.sequences_per_step() * state.train.context;
    total = (options.tokens + each - 1) / each;
  }
  if (total < state.step)
    fail_usage("--steps", fmt::format("the run is already at step {}", state.step), "give more steps");
  return total;
}

nlohmann::ordered_json number_or_null(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json result_of(const PretrainOptions& options, const Drt& model, const TrainerState& state,
                                 const TaskData& data) {
  const double tokens_per_second =
      state.train_seconds > 0 ? static_cast<double>(state.tokens) / state.train_seconds : 0.0;
  const double flops_per_token = 3.0 * model.forward_flops_per_token(state.train.context);
  nlohmann::ordered_json result;
  result["parameters"] = model.parameter_count();
  result["steps"] = state.step;
  result["planned_steps"] = state.total_steps;
  result["tokens"] = state.tokens;
  result["tokens_per_second"] = tokens_per_second;
  result["flops_per_token"] = flops_per_token;
  result["utilization"] = nullptr;
  result["peak_gflops"] = nullptr;
  if (options.peak) {
    const double peak = measure_peak_flops(model.compute_dtype());
    result["utilization"] = tokens_per_second * flops_per_token / peak;
    result["peak_gflops"] = peak / 1e9;
  }
  result["peak_memory_bytes"] = peak_memory_bytes();
  result["train_loss"] = number_or_null(state.train_loss());
  result["valid"] = nlohmann::ordered_json::array();
  for (const ValidationResult& one : state.valid_results) result["valid"].push_back(validation_to_json(one));
  if (data.validation.measures_accuracy) {
    result["copy_accuracy"] =
        state.valid_results.empty() ? nullptr : number_or_null(state.valid_results.back().accuracy);
    result["copy_chance"] = data.chance;
  }
  result["checkpoint"] = checkpoint_folder(options.output);
  return result;
}

std::string table_of(const nlohmann::ordered_json& result) {
  std::string table =
      fmt::format("{:<20}{}\n{:<20}{}\n{:<20}{}\n{:<20}{:.0f}\n", "parameters",
                  result["parameters"].get<int64_t>(), "steps", result["steps"].get<int64_t>(), "tokens",
                  result["tokens"].get<int64_t>(), "tokens/s", result["tokens_per_second"].get<double>());
  const auto line = [&](const char* name, const nlohmann::ordered_json& value) {
    if (value.is_number()) table += fmt::format("{:<20}{:.4f}\n", name, value.get<double>());
  };
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
  return table + fmt::format("{:<20}{}\n", "checkpoint", result["checkpoint"].get<std::string>());
}

void check_options(const PretrainOptions& options) {
  if (options.tensor.device != "cpu")
    fail_usage("--device " + options.tensor.device, "this build trains on the CPU only", "use --device cpu");
  if (!options.resume && options.steps < 0 && options.tokens < 0 && options.minutes < 0)
    fail_usage("--steps", "missing", "say how long to train: --steps N, --tokens N or --minutes M");
  if (!options.resume && !options.overwrite && std::filesystem::exists(checkpoint_folder(options.output)))
    fail_usage("--output " + options.output, "holds the checkpoint of a run",
               "go on with --resume, replace it with --overwrite, or choose another folder");
}

}  // namespace

void run_pretrain(const PretrainOptions& options) {
  keep_freed_memory();
  use_threads(thread_count(options.common));
  JsonReport report = begin_report("pretrain", options.common);
  check_options(options);
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  if (error) fail_usage("--output " + options.output, "cannot be made: " + error.message());
  const RunLock lock(options.output);

  TrainerState state;
  RunConfig config;
  if (options.resume) {
    state = load_trainer_state(checkpoint_folder(options.output));
    RunConfig asked = recorded_config(state);
    if (!options.config.empty()) asked.read(options.config);
    apply_flags(options, asked);
    config = resumed_config(state, asked);
    if (options.task_given && options.task != state.task)
      fail_usage("--task " + options.task, "this run's task is " + state.task, "leave --task out");
    if (options.tensor.dtype != "auto" && options.tensor.dtype != state.dtype)
      fail_usage("--dtype " + options.tensor.dtype, "this run computes in " + state.dtype,
                 "leave --dtype out");
    if (!options.data.empty()) state.data = options.data;
    if (!options.valid.empty()) state.valid = options.valid;
  } else {
    config = new_run_config(options);
    state.seed = options.common.seed;
    state.dtype = resolved_dtype(options.tensor);
    state.task = options.task;
    state.data = options.data;
    state.valid = options.valid;
  }
  const TaskData data = open_task_data({state.task, state.data, state.valid, state.seed}, config);
  const std::string where = options.config.empty() ? "--set" : "--config " + options.config;
  config.model.validate(where);
  config.train.validate(where);

  Drt model(config.model, scalar_type(state.dtype));
  if (options.resume) {
    require_same_data(state, state.data, data.train.fingerprint);
    load_weights(checkpoint_folder(options.output), model);
    state.total_steps = resumed_steps(options, state);
  } else if (!options.init.empty()) {
    require_tokenizer_of(options.init, data);
    load_weights(options.init, model);
  } else {
    model.initialise(state.seed);
    model.refresh_compute_weights();
  }
  state.model = config.model;
  state.train = config.train;
  state.data_fingerprint = data.train.fingerprint;

  Trainer trainer(model, state.train, data.train, state.seed, state.total_steps);
  if (options.resume) {
    load_optimizer(checkpoint_folder(options.output), model, trainer.optimizer());
  } else {
    state.total_steps = planned_steps(options, config, data, trainer, report.elapsed_seconds());
    trainer.set_total_steps(state.total_steps);
  }

  install_interrupt_handler();
  RunOptions run;
  run.output = options.output;
  run.tokenizer_model = data.tokenizer_model;
  run.stop_at = options.stop_at;
  run.quiet = options.common.quiet;
  run.is_new = !options.resume;
  run.stop = &interrupt_flag();
  OperatorProfile profile;
  if (options.profile) run.profile = &profile;
  if (run_training(trainer, state, data.validation, run) == RunEnd::interrupted) throw Interrupted();

  report.seed = state.seed;
  report.config = config.to_json();
  report.config["task"] = state.task;
  report.config["dtype"] = state.dtype;
  report.config["data"] = state.data;
  report.config["valid"] = state.valid;
  report.config["output"] = options.output;
  report.config["init"] = options.init;
  report.result = result_of(options, model, state, data);
  if (options.profile) report.result["profile"] = profile.to_json();
  finish_report(report, options.common, options.output,
                table_of(report.result) + (options.profile ? "\n" + profile.table() : ""));
}

}  // namespace gca
