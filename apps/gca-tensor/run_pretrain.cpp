// gca pretrain: sequences to a checkpoint.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "apps/gca-tensor/dry_run.h"
#include "apps/gca-tensor/plan_pretrain.h"
#include "apps/gca-tensor/pretrain_report.h"
#include "apps/gca-tensor/ranks.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands/commands.h"
#include "apps/gca/commands/pretrain_config.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/pretrain_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/tensor_stages.h"
#include "apps/gca/version.h"
#include "lib/core/checksums/checksum.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"
#include "lib/core/files/folder_lock.h"
#include "lib/core/interrupted.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/core/seconds_since.h"
#include "lib/device/open_device.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/parallel/agreement.h"
#include "lib/parallel/connect_devices.h"
#include "lib/parallel/open_communicator.h"
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

RankCount rank_count(const PretrainOptions& options, int ranks) {
  return {ranks, options.context_parallel, parallel::ring_scheme_of(options.cp_scheme)};
}

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
/// resumed. All ranks together.
int64_t planned_steps(const PretrainOptions& options, const train::RunConfig& config,
                      const train::TaskData& data, model::LanguageModel& model, uint64_t seed,
                      double elapsed_seconds, parallel::Communicator* communicator,
                      parallel::Communicator* text_ranks, parallel::RingScheme ring_scheme) {
  if (data.phases) return data.phases->total_steps();
  if (options.steps >= 0) return options.steps;
  if (options.tokens >= 0) return steps_of_tokens(options.tokens, config.train);
  const auto begin = std::chrono::steady_clock::now();
  const auto measuring_seconds = [begin] { return seconds_since(begin); };
  train::ValidationSource probe = data.validation;
  const int64_t ranks = communicator == nullptr ? 1 : communicator->size();
  probe.sequences = std::min(probe.sequences, ranks * config.train.batch);
  double validation_seconds = 0.0;
  if (probe.sequences > 0) {
    train::validate(model, probe, config.train.batch, nullptr, nullptr, communicator);
    validation_seconds = measuring_seconds() * static_cast<double>(data.validation.sequences) /
                         static_cast<double>(probe.sequences);
  }
  train::Trainer trial(model, config.train, data.train, seed, 1, communicator, text_ranks, ring_scheme);
  const double step_seconds = trial.measure_step_seconds(kMeasuredPart * 60.0 * options.minutes);
  const int64_t steps = train::steps_within(60.0 * options.minutes - elapsed_seconds - measuring_seconds(),
                                            step_seconds, validation_seconds, config.train.eval_interval);
  if (communicator == nullptr) return steps;
  const auto own = static_cast<double>(steps);
  return static_cast<int64_t>(communicator->all_gather_values({&own, 1}, "the number of steps").front());
}

void require_free_output(const PretrainOptions& options) {
  if (!options.resume && !options.overwrite &&
      std::filesystem::exists(train::checkpoint_folder(options.output)))
    fail_usage("--output " + options.output, "holds the checkpoint of a run",
               "go on with --resume, replace it with --overwrite, or choose another folder");
}

void check_options(const PretrainOptions& options, bool writes) {
  if (options.is_given("--cp-scheme") && options.context_parallel == 1)
    fail_usage("--cp-scheme", "is only used with --context-parallel", "leave it out");
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
  if (!writes) return;
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

void dry_run(const PretrainOptions& options, JsonReport& report, const RankCount& count) {
  constexpr double kSeconds = 5.0;
  const auto program_bytes = static_cast<double>(resident_memory_bytes());
  PlannedRun run = plan_run(options, count.ranks);
  require_work_for_ranks(run, count);
  model::LanguageModel model(run.config.model, scalar_type(run.state.dtype));
  model.initialise(run.state.seed);
  model.refresh_compute_weights();
  const train::TrainConfig train = largest_step(run);
  const train::StepProbe probe = train::probe_step(model, train, kSeconds);
  const train::MemoryEstimate memory =
      train::estimate_memory(model, largest_share(run, count), probe, program_bytes, count.ranks,
                             gathering_ranks(run.config.model, count));
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
  if (count.ranks > 1) report.result["ranks"] = count.ranks;
  finish_dry_run(report, options, model, train, probe, memory, length, run.data);
  require_memory(memory, run, count);
}

/// A run as far as a rank can make it ready by itself.
struct ReadyRun {
  PlannedRun planned;
  std::unique_ptr<model::LanguageModel> model;
  std::unique_ptr<train::RunLock> lock;  ///< on the rank that writes
  PlannedChanges changes;
  std::string continued;        ///< checkpoint
  std::string continued_state;  ///< its trainer_state.json
  double program_bytes = 0;
};

void require_memory_of(const ReadyRun& run, const RankCount& count) {
  const train::TrainConfig share = largest_share(run.planned, count);
  require_memory(
      train::estimate_memory(*run.model, share, train::probe_step(*run.model, share, 0), run.program_bytes,
                             count.ranks, gathering_ranks(run.planned.config.model, count)),
      run.planned, count);
}

/// Plan, weights, memory, data, folder: everything that can be found unusable. `writes`: is this the rank that writes?
ReadyRun make_ready(const PretrainOptions& options, const RankCount& count, bool writes) {
  ReadyRun run;
  check_options(options, writes);
  // A run that goes on reads what it then replaces, so nobody else may. One that begins leaves no trace
  // before all that it was given has been found usable.
  if (options.resume && writes) {
    train::load_trainer_state(train::checkpoint_folder(options.output));
    run.lock = claim_output(options);
  }
  run.program_bytes = static_cast<double>(resident_memory_bytes());
  run.continued = continued_checkpoint(options);
  run.continued_state = run.continued.empty() ? "" : read_file(run.continued + "/trainer_state.json");
  run.planned = plan_run(options, count.ranks);
  require_work_for_ranks(run.planned, count);
  train::TrainerState& state = run.planned.state;
  const train::RunConfig& config = run.planned.config;
  const train::TaskData& data = run.planned.data;

  run.model = std::make_unique<model::LanguageModel>(
      config.model, scalar_type(state.dtype),
      device::open_device(options.tensor.device, state.dtype, parallel::rank_environment().local_rank));
  model::LanguageModel& model = *run.model;
  if (options.goes_on()) {
    train::require_same_data(state, run.planned.recorded_data, data.train.fingerprint);
    train::load_weights(run.continued, model);
    const int64_t total_steps = resumed_steps(options, state);
    run.changes = planned_changes(run.planned, total_steps);
    state.total_steps = total_steps;
  } else if (!options.init.empty()) {
    const std::string init = model::find_checkpoint(options.init, "--init " + options.init);
    require_tokenizer_of(init, data);
    train::load_weights(init, model);
  } else if (!run.planned.start_up.folder.empty()) {
    train::load_start_up(run.planned.start_up.folder, model, state.seed);
  } else {
    model.initialise(state.seed);
    model.refresh_compute_weights();
  }
  require_memory_of(run, count);
  data.train.batch(state.sequences, config.train.batch);  // the first that will be read: is it whole?
  if (writes && !run.lock) run.lock = claim_output(options);
  return run;
}

std::string checksum_of_weights(const model::LanguageModel& model) {
  Checksum checksum;
  for (const model::Weight& weight : model.weights()) {
    const at::Tensor values = weight.master.detach().to(at::kCPU);
    checksum.update({static_cast<const char*>(values.const_data_ptr()), values.nbytes()});
  }
  return checksum.text();
}

/// Ranks that were started with another program, command line or files would train something else, or wait forever.
void require_same_run(parallel::Communicator& communicator, const PretrainOptions& options,
                      const ReadyRun& run) {
  const train::TrainerState& state = run.planned.state;
  parallel::require_same(
      communicator,
      {{"version of gca", program_version()},
       {"configuration", pretrain_config_of(options, state, run.planned.config).dump() +
                             std::to_string(state.seed) + " " + std::to_string(state.total_steps) + " " +
                             std::to_string(options.steps) + " " + std::to_string(options.tokens) + " " +
                             std::to_string(options.minutes) + " " + std::to_string(options.stop_at) + " " +
                             std::to_string(options.context_parallel) + " " + options.cp_scheme},
       {"data", run.planned.data.train.fingerprint},
       {"checkpoint", run.continued_state},
       {"weights", checksum_of_weights(*run.model)}});
}

void train_run(const PretrainOptions& options, JsonReport& report, parallel::Communicator* communicator,
               parallel::Communicator* text_ranks) {
  const int ranks = communicator == nullptr ? 1 : communicator->size();
  const RankCount count = rank_count(options, ranks);
  const bool writes = communicator == nullptr || communicator->rank() == 0;
  const bool is_quiet = options.common.quiet || !writes;
  ReadyRun ready;
  parallel::succeed_together(communicator, [&] { ready = make_ready(options, count, writes); });
  if (communicator != nullptr) require_same_run(*communicator, options, ready);
  if (ready.model->device().is_cuda())
    for (parallel::Communicator* group : {communicator, text_ranks})
      if (group != nullptr) parallel::connect_devices(*group, ready.model->device());
  PlannedRun& planned = ready.planned;
  train::TrainerState& state = planned.state;
  train::RunConfig& config = planned.config;
  train::TaskData& data = planned.data;
  model::LanguageModel& model = *ready.model;
  if (!options.goes_on()) {
    state.total_steps = planned_steps(options, config, data, model, state.seed, report.elapsed_seconds(),
                                      communicator, text_ranks, count.ring_scheme);
    if (planned.start_up.is_used() && !data.phases && state.total_steps > 0) {  // --minutes
      parallel::succeed_together(communicator, [&] {
        const int64_t tokens = state.total_steps * config.train.sequences_per_step() * config.train.context;
        follow_curriculum(planned, state.total_steps, planned.start_up.is_trained ? tokens : -1);
        state.total_steps = data.phases->total_steps();
        require_work_for_ranks(planned, count);
        require_memory_of(ready, count);
      });
    }
  }
  state.model = config.model;
  state.train = config.train;
  state.data_fingerprint = data.train.fingerprint;
  state.end_token = data.end_token;

  train::Trainer trainer(model, state.train, data.train, state.seed, state.total_steps, communicator,
                         text_ranks, count.ring_scheme);
  trainer.follow(data.phases);
  if (options.goes_on()) {
    parallel::succeed_together(communicator, [&] {
      train::load_optimizer(ready.continued, model, trainer.optimizer());
      if (!options.branch.empty()) require_unchanged(options, ready.continued, ready.continued_state);
    });
    if (!is_quiet) fmt::print(stderr, "{}", ready.changes.remarks);
    if (!is_quiet && state.ranks != ranks)
      fmt::print(
          stderr,
          "gca pretrain: note: ranks were {} and are {}: results differ by rounding from an unbroken run\n",
          state.ranks, ranks);
  }
  state.ranks = ranks;
  if (data.train.uses && !is_quiet)
    fmt::print(stderr, "{}",
               train::planned_use_text(data.train.uses(planned.planned_sequences(state.total_steps))));

  if (!is_quiet && !planned.start_up.notice.empty())
    fmt::print(stderr, "gca pretrain: note: {}\n", planned.start_up.notice);
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
  run.changes = std::move(ready.changes.changes);
  run.stop = &interrupt_flag();
  run.save = &save_request();
  profile::OperatorProfile profile;
  if (options.profile) run.profile = &profile;
  const train::RunEnd end = train::run_training(trainer, state, data.validation_plan, run);
  if (end == train::RunEnd::interrupted) throw Interrupted();
  if (!writes) return;

  report.seed = state.seed;
  report.config = pretrain_config_of(options, state, config);
  report.result = pretrain_result_of(options, model, state, data);
  if (options.profile) report.result["profile"] = profile.to_json();
  finish_report(report, options.common, options.output,
                pretrain_table_of(report.result) + (options.profile ? "\n" + profile.table() : ""));
}

void require_whole_groups(const PretrainOptions& options, int ranks) {
  if (ranks % options.context_parallel == 0) return;
  fail_usage(fmt::format("--context-parallel {}", options.context_parallel),
             ranks == 1 ? "there is one process" : fmt::format("does not divide {} ranks", ranks),
             "start a multiple of so many ranks (gca launch -n N -- pretrain ...)");
}

/// --dry-run: rank 0 tells what each of them needs.
void plan_of_ranks(PretrainOptions& options, int ranks) {
  read_input_files(options);
  check_options(options, true);
  require_whole_groups(options, ranks);
  JsonReport plan = begin_tensor_report("pretrain-dry-run", options.common, options.tensor);
  dry_run(options, plan, rank_count(options, ranks));
}

}  // namespace

void run_pretrain(const PretrainOptions& given) {
  install_save_handler();
  PretrainOptions options = given;
  const parallel::RankEnvironment environment = parallel::rank_environment();
  train::keep_freed_memory();
  train::use_threads(thread_count(options.common));
  as_rank(options.timeout_seconds, [&](parallel::Communicator* communicator) {
    if (options.dry_run) {
      if (is_writer(communicator)) plan_of_ranks(options, environment.size);
      return;
    }
    std::optional<JsonReport> report;
    parallel::succeed_together(communicator, [&] {
      read_input_files(options);
      require_whole_groups(options, environment.size);
      if (!is_writer(communicator)) options.common.report_path.clear();
      report = begin_tensor_report("pretrain", options.common, options.tensor);
    });
    std::unique_ptr<parallel::Communicator> text_ranks;
    if (communicator != nullptr)
      parallel::require_same(*communicator,
                             {{"--context-parallel", std::to_string(options.context_parallel)}});
    if (options.context_parallel > 1)
      text_ranks = parallel::open_group(*communicator, options.context_parallel);
    train_run(options, *report, communicator, text_ranks.get());
  });
}

}  // namespace gca::app
