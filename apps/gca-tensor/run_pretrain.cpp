// gca pretrain: sequences to a checkpoint.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "apps/gca-tensor/dry_run.h"
#include "apps/gca-tensor/plan_pretrain.h"
#include "apps/gca-tensor/pretrain_report.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands/commands.h"
#include "apps/gca/commands/pretrain_config.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/pretrain_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/folder_lock.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/device/open_device.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/profile/operator_profile.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_file.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/checkpoints/resume_rules.h"
#include "lib/train/checkpoints/run_lock.h"
#include "lib/train/checkpoints/start_up_weights.h"
#include "lib/train/data/task_data.h"
#include "lib/train/progress/validation.h"
#include "lib/train/step/process_settings.h"
#include "lib/train/step/run_estimate.h"
#include "lib/train/training_run.h"

namespace gca::app {
namespace {

/// Part of --minutes after which no further step is measured.
constexpr double kMeasuredPart = 0.05;

at::ScalarType scalar_type(const std::string& dtype) {
  return dtype == "bf16" ? at::kBFloat16 : at::kFloat;
}

/// A fine-tuned model must read the ids that it was trained on.
void require_tokenizer_of(const std::string& checkpoint, const train::TaskData& data) {
  const std::string path = text::find_tokenizer_file(checkpoint);
  if (data.tokenizer_fingerprint.empty() || !std::filesystem::exists(path)) return;
  if (text::Tokenizer::load(path).fingerprint() != data.tokenizer_fingerprint)
    fail_usage("--init " + checkpoint, "its tokenizer is not that of the data",
               "run gca tokenize with --tokenizer " + path);
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

void dry_run(const PretrainOptions& options, JsonReport& report) {
  constexpr double kSeconds = 5.0;
  const auto program_bytes = static_cast<double>(resident_memory_bytes());
  PlannedRun run = plan_run(options);
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
  report.config = pretrain_config_of(options, run.state, run.config);
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
    if (!planned.start_up.empty() && !data.phases && state.total_steps > 0) {  // --minutes
      follow_curriculum(planned, state.total_steps, -1);
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
  run.tokenizer_file = data.tokenizer_file;
  run.stop_at = options.stop_at;
  run.quiet = options.common.quiet;
  run.tensorboard = options.tensorboard;
  run.is_new = !options.resume;
  run.data_uses = data.train.uses;
  run.phases = data.phases;
  run.changes = std::move(changes.changes);
  run.stop = &interrupt_flag();
  run.save = &save_request();
  profile::OperatorProfile profile;
  if (options.profile) run.profile = &profile;
  if (train::run_training(trainer, state, data.validation_plan, run) == train::RunEnd::interrupted)
    throw Interrupted();

  report.seed = state.seed;
  report.config = pretrain_config_of(options, state, config);
  report.result = pretrain_result_of(options, model, state, data);
  if (options.profile) report.result["profile"] = profile.to_json();
  finish_report(report, options.common, options.output,
                pretrain_table_of(report.result) + (options.profile ? "\n" + profile.table() : ""));
}

}  // namespace gca::app
