// gca pretrain: sequences to a checkpoint.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <tuple>

#include <fmt/format.h>

#include "apps/gca-tensor/dry_run.h"
#include "apps/gca-tensor/start_up.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands.h"
#include "apps/gca/common_options.h"
#include "apps/gca/interrupt.h"
#include "apps/gca/pretrain_config.h"
#include "apps/gca/pretrain_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/atomic_file.h"
#include "lib/core/error.h"
#include "lib/core/folder_lock.h"
#include "lib/core/machine_memory.h"
#include "lib/device/open_device.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/profile/machine_rates.h"
#include "lib/profile/operator_profile.h"
#include "lib/text/tokenizer.h"
#include "lib/train/checkpoint.h"
#include "lib/train/kept_checkpoints.h"
#include "lib/train/process_settings.h"
#include "lib/train/resume_rules.h"
#include "lib/train/run_estimate.h"
#include "lib/train/run_lock.h"
#include "lib/train/start_up_curriculum.h"
#include "lib/train/start_up_weights.h"
#include "lib/train/task_data.h"
#include "lib/train/training_run.h"
#include "lib/train/validation.h"
#include "lib/train/weighted_data.h"

namespace gca::app {
namespace {

/// Part of --minutes after which no further step is measured.
constexpr double kMeasuredPart = 0.05;

at::ScalarType scalar_type(const std::string& dtype) {
  return dtype == "bf16" ? at::kBFloat16 : at::kFloat;
}

/// A fine-tuned model must read the ids that it was trained on.
void require_tokenizer_of(const std::string& checkpoint, const train::TaskData& data) {
  const std::string path = checkpoint + "/tokenizer.model";
  if (data.tokenizer_fingerprint.empty() || !std::filesystem::exists(path)) return;
  if (text::Tokenizer::load(path).fingerprint() != data.tokenizer_fingerprint)
    fail_usage("--init " + checkpoint, "its tokenizer is not that of the data",
               "run gca tokenize with --tokenizer " + path);
}

/// Steps that read at least so many text tokens.
int64_t steps_of_tokens(int64_t tokens, const train::TrainConfig& config) {
  const int64_t each = config.sequences_per_step() * config.context;
  return tokens / each + (tokens % each != 0);
}

/// Steps of a run that begins; --minutes is turned into steps once, here, so that the run can be repeated and
/// resumed.
int64_t planned_steps(const PretrainOptions& options, const train::RunConfig& config,
                      const train::TaskData& data, model::LanguageModel& model, uint64_t seed,
                      double elapsed_seconds) {
  if (data.phases) return data.phases->total_steps();
  if (options.steps >= 0) return options.steps;
  if (options.tokens >= 0) return steps_of_tokens(options.tokens, config.train);
  const auto begin = std::chrono::steady_clock::now();
  const auto measuring_seconds = [begin] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  train::ValidationSource probe = data.validation;
  probe.sequences = std::min(probe.sequences, config.train.batch);
  double validation_seconds = 0.0;
  if (probe.sequences > 0) {
    train::validate(model, probe, config.train.batch);
    validation_seconds = measuring_seconds() * static_cast<double>(data.validation.sequences) /
                         static_cast<double>(probe.sequences);
  }
  train::Trainer trial(model, config.train, data.train, seed, 1);
  const double step_seconds = trial.measure_step_seconds(kMeasuredPart * 60.0 * options.minutes);
  return train::steps_within(60.0 * options.minutes - elapsed_seconds - measuring_seconds(), step_seconds,
                             validation_seconds, config.train.eval_interval);
}

/// Where a resumed run is to end: as planned, unless the command line says otherwise.
int64_t resumed_steps(const PretrainOptions& options, const train::TrainerState& state) {
  int64_t total = state.total_steps;
  if (!state.phases.is_null() && (options.steps >= 0 || options.tokens >= 0))
    fail_usage("--steps", "the phases of this run say how long it goes on", "leave it out");
  if (options.minutes >= 0)
    fail_usage("--minutes", fmt::format("the run was planned as {} steps when it began", total),
               "leave --minutes out, or give --steps");
  if (options.steps >= 0) total = options.steps;
  if (options.tokens >= 0) total = steps_of_tokens(options.tokens, state.train);
  if (total < state.step)
    fail_usage("--steps", fmt::format("the run is already at step {}", state.step), "give more steps");
  return total;
}

/// What a report says of how the run was made.
nlohmann::ordered_json config_of(const PretrainOptions& options, const train::TrainerState& state,
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

nlohmann::ordered_json number_or_null(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json result_of(const PretrainOptions& options, const model::LanguageModel& model,
                                 const train::TrainerState& state, const train::TaskData& data) {
  const double tokens_per_second =
      state.train_seconds > 0 ? static_cast<double>(state.tokens) / state.train_seconds : 0.0;
  const double flops_per_token = 3.0 * model.cost(state.train.context).forward_flops();
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

std::string table_of(const nlohmann::ordered_json& result) {
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

void require_free_output(const PretrainOptions& options) {
  if (!options.resume && !options.overwrite &&
      std::filesystem::exists(train::checkpoint_folder(options.output)))
    fail_usage("--output " + options.output, "holds the checkpoint of a run",
               "go on with --resume, replace it with --overwrite, or choose another folder");
}

void check_options(const PretrainOptions& options) {
  if (options.dry_run) {
    if (options.tensor.device != "cpu")
      fail_usage("--device " + options.tensor.device, "a dry run estimates runs on the CPU",
                 "use --device cpu, or start the run");
    return;
  }
  if (!options.goes_on() && options.steps < 0 && options.tokens < 0 && options.minutes < 0 &&
      options.phases_json.is_null())
    fail_usage("--steps", "missing", "say how long to train: --steps N, --tokens N or --minutes M");
  if (!options.goes_on() && !options.changes.empty())
    fail_usage("--change", "is for a run that goes on", "use --set for a run that begins");
  if (options.goes_on() && !options.phases_json.is_null())
    fail_usage("--phases", "a resumed run goes on with the phases that it began with", "leave --phases out");
  require_free_output(options);
  const FolderLock tried(options.output);  // can it be written?
}

/// The checkpoint that a run goes on from; empty for one that begins.
std::string continued_checkpoint(const PretrainOptions& options) {
  if (options.resume) return train::checkpoint_folder(options.output);
  if (options.branch.empty()) return "";
  const std::string where = "--branch " + options.branch;
  const std::string checkpoint = model::find_checkpoint(options.branch, where);
  if (!std::filesystem::exists(checkpoint + "/trainer_state.json"))
    fail_usage(where, "holds weights, and nothing of the run that made them",
               "begin a run from them with --init");
  return checkpoint;
}

/// The run that is branched from may be going on, and replace its checkpoint while it is read here.
void require_unchanged(const PretrainOptions& options, const std::string& checkpoint,
                       const std::string& trainer_state) {
  if (read_file(checkpoint + "/trainer_state.json") != trainer_state)
    fail_usage("--branch " + options.branch, "was replaced while it was read",
               "branch again, best from a checkpoint that is kept (--keep)");
}

/// The folder of the run, made where it is missing, and this process alone in it.
std::unique_ptr<train::RunLock> claim_output(const PretrainOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.output, error);
  if (error)
    fail_usage("--output " + options.output, "cannot be made: " + error.message(),
               "name a folder that can be written");
  auto lock = std::make_unique<train::RunLock>(options.output);
  require_free_output(options);  // Once more: another run may have begun and ended meanwhile.
  return lock;
}

/// What a run is, before anything of it is made: where it stands, its settings, its data.
struct PlannedRun {
  train::TrainerState state;
  train::RunConfig config;
  train::TaskData data;
  std::string start_up;                    ///< folder of start-up weights; empty for none
  std::string notice;                      ///< for a person; empty for none
  std::vector<std::string> recorded_data;  ///< of a run that goes on: what it was begun with

  /// Sequences that it will have read in the end.
  int64_t planned_sequences(int64_t total_steps) const {
    if (data.phases) return data.phases->total_sequences();
    return state.sequences + (total_steps - state.step) * config.train.sequences_per_step();
  }
};

/// A run that goes on: its own settings, and what the command line may change of them.
void plan_resumed(const PretrainOptions& options, PlannedRun& run) {
  train::TrainerState& state = run.state;
  state = train::load_trainer_state(continued_checkpoint(options));
  train::RunConfig asked = train::recorded_config(state);
  asked.take_all(options.config_files);
  apply_flags(options, asked);
  run.config = train::resumed_config(state, asked, options.changes);
  if (options.is_given("--task") && options.task != state.task)
    fail_usage("--task " + options.task, "this run's task is " + state.task, "leave --task out");
  if (options.tensor.dtype != "auto" && options.tensor.dtype != state.dtype)
    fail_usage("--dtype " + options.tensor.dtype, "this run computes in " + state.dtype, "leave --dtype out");
  run.recorded_data = state.data;
  const auto require_there = [](const std::string& flag, const std::string& folder) {
    if (!std::filesystem::exists(folder))
      fail_usage(flag, "is " + folder + " in this run, which is not there", "give its new place");
  };
  if (!options.data.empty())
    state.data = options.data;
  else
    for (const std::string& word : state.data)
      require_there("--data", train::parse_weighted_data(word).folder);
  if (!options.valid.empty())
    state.valid = options.valid;
  else if (!state.valid.empty())
    require_there("--valid", state.valid);
}

void plan_new(const PretrainOptions& options, PlannedRun& run) {
  run.config = new_run_config(options);
  run.state.seed = options.common.seed;
  run.state.dtype = resolved_dtype(options.tensor);
  run.state.task = options.phases_json.is_null() ? options.task : "phases";
  run.state.phases = options.phases_json;
  run.state.data = options.data;
  run.state.valid = options.valid;
  run.start_up = start_up_folder(options, run.config, run.notice);
}

void open_data(PlannedRun& run) {
  run.data = train::open_task_data(
      {run.state.task, run.state.data, run.state.valid, run.state.seed, run.state.phases}, run.config);
}

/// Text training from start-up weights follows a curriculum, which takes `steps`, or so many that they read
/// `tokens` (-1: as many as they do).
void follow_curriculum(PlannedRun& run, int64_t steps, int64_t tokens) {
  const train::RunConfig plain = run.config;
  const auto follow = [&](int64_t total_steps) {
    run.config = plain;
    run.state.phases = train::start_up_curriculum(plain, total_steps);
    open_data(run);
  };
  run.state.task = "phases";
  follow(steps);
  if (tokens < 0) return;
  // Repeats are not as long as the sequences of the text.
  const double each = static_cast<double>(run.data.phases->total_tokens()) / static_cast<double>(steps);
  follow(static_cast<int64_t>(std::ceil(static_cast<double>(tokens) / each)));
}

PlannedRun plan_run(const PretrainOptions& options) {
  PlannedRun run;
  if (options.goes_on())
    plan_resumed(options, run);
  else
    plan_new(options, run);
  // A dry run needs no data where the settings say what the data would: the vocabulary.
  const bool needs_data = !options.dry_run || !run.state.data.empty() || run.config.model.vocab_size == 0 ||
                          run.state.task != "text";
  if (needs_data) open_data(run);
  const std::string where = run.config.places();
  run.config.model.validate(where);
  run.config.train.validate(where);
  train::require_memory_for_weights(run.config.model, run.state.dtype, where);
  return run;
}

/// The flag or file that says how large a batch is.
std::string source_of_batch(const train::RunConfig& config) {
  const auto found = config.sources.find("batch");
  return found == config.sources.end() ? "batch" : found->second;
}

/// The settings of the step that takes the most memory.
train::TrainConfig largest_step(const PlannedRun& run) {
  return run.data.phases ? run.data.phases->largest_task().config.train : run.config.train;
}

void require_memory(const train::MemoryEstimate& memory, const PlannedRun& run) {
  const std::string where = run.data.phases ? "--phases, task " + run.data.phases->largest_task().task
                                            : source_of_batch(run.config);
  train::require_memory_for_batch(memory, largest_step(run), where);
}

/// How a run that goes on differs from before.
struct PlannedChanges {
  std::vector<train::SettingChange> changes;
  std::string remarks;  ///< for a person
};

PlannedChanges planned_changes(const PlannedRun& run, int64_t total_steps) {
  PlannedChanges planned;
  planned.changes = train::changes_of(run.state, run.config.train, total_steps);
  planned.remarks = train::change_remarks(planned.changes, run.state, run.config.train, total_steps);
  return planned;
}

/// Which checkpoint is best is decided by one number: where there are several tasks, by the loss of the text.
void require_comparable_losses(const PlannedRun& run) {
  if (!run.config.train.keep_best) return;
  const auto has_text = [](const train::TrainingPhase& phase) {
    return std::any_of(phase.tasks.begin(), phase.tasks.end(),
                       [](const train::PhaseTask& task) { return task.task == tasks::kTextTask; });
  };
  if (run.data.phases)
    for (const train::TrainingPhase& phase : run.data.phases->phases())
      if (!has_text(phase))
        fail_usage("--keep best",
                   "phase " + phase.name + " does not train on text, whose losses are compared",
                   "use --keep N");
  if (run.data.validation.sequences == 0)
    fail_usage("--keep best", "there is no validation data",
               "give --valid, or run gca chunk with --valid-fraction");
}

void dry_run(const PretrainOptions& options, JsonReport& report) {
  constexpr double kSeconds = 5.0;
  const auto program_bytes = static_cast<double>(resident_memory_bytes());
  PlannedRun run = plan_run(options);
  const int64_t steps =
      options.tokens > 0 ? steps_of_tokens(options.tokens, run.config.train) : options.steps;
  if (!run.start_up.empty() && !run.data.phases && !run.state.data.empty() && steps > 0)
    follow_curriculum(run, steps, options.tokens);
  model::LanguageModel model(run.config.model, scalar_type(run.state.dtype));
  model.initialise(run.state.seed);
  model.refresh_compute_weights();
  const train::TrainConfig train = largest_step(run);
  const train::StepProbe probe = train::probe_step(model, train, kSeconds);
  const train::MemoryEstimate memory = train::estimate_memory(model, train, probe, program_bytes);
  RunLength length{options.steps, options.minutes};
  if (options.goes_on()) {
    const int64_t total_steps = resumed_steps(options, run.state);
    if (!options.common.quiet) fmt::print(stderr, "{}", planned_changes(run, total_steps).remarks);
    length = {total_steps - run.state.step, 0};
  }
  if (!options.goes_on() && options.tokens >= 0) length.steps = steps_of_tokens(options.tokens, train);
  length.sequences_before = run.state.sequences;
  if (run.data.phases) length.sequences = run.data.phases->total_sequences();
  if (!options.goes_on() && run.data.phases) {
    length.steps = run.data.phases->total_steps();
    length.tokens = run.data.phases->total_tokens();
  }
  report.seed = run.state.seed;
  report.config = config_of(options, run.state, run.config);
  finish_dry_run(report, options, model, train, probe, memory, length, run.data);
  require_memory(memory, run);
}

}  // namespace

void run_pretrain(const PretrainOptions& given) {
  install_save_handler();
  PretrainOptions options = given;
  read_input_files(options);
  train::keep_freed_memory();
  train::use_threads(thread_count(options.common));
  JsonReport report = begin_tensor_report("pretrain", options.common, options.tensor);
  check_options(options);
  if (options.dry_run) {
    JsonReport plan = begin_tensor_report("pretrain-dry-run", options.common, options.tensor);
    return dry_run(options, plan);
  }
  // A run that goes on reads what it then replaces, so nobody else may. One that begins leaves no trace
  // before all that it was given has been found usable.
  std::unique_ptr<train::RunLock> lock;
  if (options.resume) {
    train::load_trainer_state(train::checkpoint_folder(options.output));
    lock = claim_output(options);
  }
  const auto program_bytes = static_cast<double>(resident_memory_bytes());
  const std::string continued = continued_checkpoint(options);
  const std::string continued_state = continued.empty() ? "" : read_file(continued + "/trainer_state.json");
  PlannedRun planned = plan_run(options);
  train::TrainerState& state = planned.state;
  train::RunConfig& config = planned.config;
  train::TaskData& data = planned.data;
  require_comparable_losses(planned);
  PlannedChanges changes;

  model::LanguageModel model(config.model, scalar_type(state.dtype),
                             device::open_device(options.tensor.device, state.dtype));
  if (options.goes_on()) {
    train::require_same_data(state, planned.recorded_data, data.train.fingerprint);
    train::load_weights(continued, model);
    const int64_t total_steps = resumed_steps(options, state);
    changes = planned_changes(planned, total_steps);
    state.total_steps = total_steps;
  } else if (!options.init.empty()) {
    const std::string init = model::find_checkpoint(options.init, "--init " + options.init);
    require_tokenizer_of(init, data);
    train::load_weights(init, model);
  } else if (!planned.start_up.empty()) {
    train::load_start_up(planned.start_up, model, state.seed);
  } else {
    model.initialise(state.seed);
    model.refresh_compute_weights();
  }
  const train::TrainConfig largest = largest_step(planned);
  require_memory(train::estimate_memory(model, largest, train::probe_step(model, largest, 0), program_bytes),
                 planned);
  data.train.batch(state.sequences, config.train.batch);  // the first that will be read: is it whole?
  if (!lock) lock = claim_output(options);
  if (!options.goes_on()) {
    state.total_steps = planned_steps(options, config, data, model, state.seed, report.elapsed_seconds());
    if (!planned.start_up.empty() && !data.phases && state.total_steps > 0) {
      follow_curriculum(planned, state.total_steps, options.tokens);
      state.total_steps = data.phases->total_steps();
      require_memory(
          train::estimate_memory(model, largest_step(planned),
                                 train::probe_step(model, largest_step(planned), 0), program_bytes),
          planned);
    }
  }
  state.model = config.model;
  state.train = config.train;
  state.data_fingerprint = data.train.fingerprint;
  state.end_token = data.end_token;

  train::Trainer trainer(model, state.train, data.train, state.seed, state.total_steps);
  trainer.follow(data.phases);
  if (options.goes_on()) {
    train::load_optimizer(continued, model, trainer.optimizer());
    if (!options.branch.empty()) require_unchanged(options, continued, continued_state);
    if (!options.common.quiet) fmt::print(stderr, "{}", changes.remarks);
  }
  if (data.train.uses && !options.common.quiet)
    fmt::print(stderr, "{}",
               train::planned_use_text(data.train.uses(planned.planned_sequences(state.total_steps))));

  if (!options.common.quiet && !planned.notice.empty())
    fmt::print(stderr, "gca pretrain: note: {}\n", planned.notice);
  install_interrupt_handler();
  train::RunOptions run;
  run.output = options.output;
  run.tokenizer_model = data.tokenizer_model;
  run.stop_at = options.stop_at;
  run.quiet = options.common.quiet;
  run.tensorboard = options.tensorboard;
  run.is_new = !options.resume;
  run.data_uses = data.train.uses;
  run.changes = std::move(changes.changes);
  run.stop = &interrupt_flag();
  run.save = &save_request();
  profile::OperatorProfile profile;
  if (options.profile) run.profile = &profile;
  if (train::run_training(trainer, state, data.validation_plan, run) == train::RunEnd::interrupted)
    throw Interrupted();

  report.seed = state.seed;
  report.config = config_of(options, state, config);
  report.result = result_of(options, model, state, data);
  if (options.profile) report.result["profile"] = profile.to_json();
  finish_report(report, options.common, options.output,
                table_of(report.result) + (options.profile ? "\n" + profile.table() : ""));
}

}  // namespace gca::app
