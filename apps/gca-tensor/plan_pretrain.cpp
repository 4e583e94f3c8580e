#include "apps/gca-tensor/plan_pretrain.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands/pretrain_config.h"
#include "lib/core/error.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/checkpoint_folder.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/checkpoints/resume_rules.h"
#include "lib/train/data/weighted_data.h"
#include "lib/train/settings/start_up_curriculum.h"

namespace gca::app {
namespace {

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
  run.start_up = planned_start_up(options, run.config);
}

void open_data(PlannedRun& run) {
  run.data = train::open_task_data(
      {run.state.task, run.state.data, run.state.valid, run.state.seed, run.state.phases}, run.config);
}

/// The flag or file that says how large a batch is.
std::string source_of_batch(const train::RunConfig& config) {
  const auto found = config.sources.find("batch");
  return found == config.sources.end() ? "batch" : found->second;
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

/// Throws where the model or the scheme reads texts otherwise than in the parts that the ranks would have.
void require_texts_to_share(const PlannedRun& run, const RankCount& count) {
  const std::string flag = fmt::format("--context-parallel {}", count.text_ranks);
  const model::ModelConfig& config = run.config.model;
  const model::TextSharing sharing = model::backbone_kind(config).text_sharing;
  if (sharing == model::TextSharing::none)
    fail_usage(flag, "a model with long_range " + config.long_range + " reads each text whole",
               "leave it out");
  model::require_choice_without_vectors(config, flag, "a part of a text");
  const bool goes_round = count.ring_scheme != parallel::RingScheme::gather;
  if (sharing == model::TextSharing::in_order) {
    if (goes_round)
      fail_usage("--cp-scheme", "is for full attention", "leave it out, or set self_attention=full");
    return;
  }
  if (goes_round && config.position == "alibi")
    fail_usage("--cp-scheme", "blocks that go round a ring know rotary positions only, and position is alibi",
               "use --cp-scheme gather");
  const int64_t unit = parallel::length_unit(count.ring_scheme, count.text_ranks);
  const auto require_whole_parts = [&](int64_t context, const std::string& where) {
    if (context % unit != 0)
      fail_usage(
          where, fmt::format("a context of {} cannot be cut into {} equal slices", context, unit),
          fmt::format("use one of {}, or another --context-parallel", std::max(unit, context / unit * unit)));
  };
  if (run.data.phases)
    for (const train::TrainingPhase& phase : run.data.phases->phases())
      for (const train::PhaseTask& task : phase.tasks)
        require_whole_parts(task.config.train.context, "phase " + phase.name + ", task " + task.task);
  else
    require_whole_parts(run.config.train.context, flag);
}

}  // namespace

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

void follow_curriculum(PlannedRun& run, int64_t steps, int64_t tokens) {
  const train::RunConfig plain = run.config;
  const nlohmann::json training = run.start_up.is_trained
                                      ? train::start_up_training(plain)
                                      : nlohmann::json{{"phases", nlohmann::json::array()}};
  int64_t training_steps = 0;
  for (const nlohmann::json& phase : training["phases"]) training_steps += phase["steps"].get<int64_t>();
  const auto follow = [&](int64_t text_steps) {
    run.config = plain;
    run.state.phases = training;
    const nlohmann::json curriculum = train::start_up_curriculum(plain, text_steps);
    for (const nlohmann::json& phase : curriculum["phases"]) run.state.phases["phases"].push_back(phase);
    open_data(run);
  };
  const auto require_more = [&](int64_t has, int64_t takes, const char* unit) {
    if (run.start_up.is_trained && has <= takes)
      fail_usage("start_up train", fmt::format("takes {} {}, and the run has {}", takes, unit, has),
                 "train longer, or give a checkpoint of the same sizes that has a start-up");
  };
  run.state.task = "phases";
  if (tokens < 0) {
    require_more(steps, training_steps, "steps");
    follow(steps - training_steps);
    return;
  }
  follow(steps);
  const int64_t training_tokens = run.data.phases->tokens_of_steps(0, training_steps);
  require_more(tokens, training_tokens, "tokens");
  // Repeats are not as long as the sequences of the text, and not the same part of every plan.
  constexpr int kGuesses = 3;
  for (int guess = 0; guess < kGuesses; ++guess) {
    const train::TrainingPhases& plan = *run.data.phases;
    const int64_t text_steps = plan.total_steps() - training_steps;
    const double each =
        static_cast<double>(plan.total_tokens() - training_tokens) / static_cast<double>(text_steps);
    const auto next = static_cast<int64_t>(std::ceil(static_cast<double>(tokens - training_tokens) / each));
    if (next == text_steps) break;
    follow(next);
  }
}

int64_t steps_of_tokens(int64_t tokens, const train::TrainConfig& config) {
  const int64_t each = config.sequences_per_step() * config.context;
  return tokens / each + (tokens % each != 0);
}

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

PlannedRun plan_run(const PretrainOptions& options, int ranks) {
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
  train::require_memory_for_weights(run.config.model, run.state.dtype, where, ranks);
  const int64_t steps =
      options.tokens > 0 ? steps_of_tokens(options.tokens, run.config.train) : options.steps;
  if (run.start_up.is_used() && !run.data.phases && !run.state.data.empty() && steps > 0)
    follow_curriculum(run, steps, options.tokens);
  require_comparable_losses(run);
  return run;
}

train::TrainConfig largest_step(const PlannedRun& run) {
  return run.data.phases ? run.data.phases->largest_task().config.train : run.config.train;
}

int gathering_ranks(const model::ModelConfig& config, const RankCount& count) {
  const model::BackboneKind& kind = model::backbone_kind(config);
  const bool gathers_cache =
      kind.text_sharing == model::TextSharing::ring && count.ring_scheme == parallel::RingScheme::gather;
  return gathers_cache || kind.keeps_chunk_memory ? count.text_ranks : 1;
}

train::TrainConfig largest_share(const PlannedRun& run, const RankCount& count) {
  train::TrainConfig config = largest_step(run);
  config.batch = (config.batch + count.groups() - 1) / count.groups();
  config.context = (config.context + count.text_ranks - 1) / count.text_ranks;
  return config;
}

void require_work_for_ranks(const PlannedRun& run, const RankCount& count) {
  if (count.ranks == 1) return;
  const std::string them =
      fmt::format("{} {}", count.groups(), count.text_ranks > 1 ? "groups of ranks" : "ranks");
  const auto require_rows = [&](int64_t batch, const std::string& where) {
    if (batch < count.groups())
      fail_usage(where, fmt::format("a batch of {} has no row for each of {}", batch, them),
                 fmt::format("use a batch of {} or more, or fewer ranks", count.groups()));
  };
  if (run.data.phases)
    for (const train::TrainingPhase& phase : run.data.phases->phases())
      for (const train::PhaseTask& task : phase.tasks)
        require_rows(task.config.train.batch, "phase " + phase.name + ", task " + task.task);
  else
    require_rows(run.config.train.batch, source_of_batch(run.config));
  if (count.text_ranks > 1) require_texts_to_share(run, count);
  if (model::backbone_kind(run.config.model).crosses_rows)
    fail_usage("long_range " + run.config.model.long_range,
               "in training the rows of its batch see each other", "train it in one process");
}

void require_memory(const train::MemoryEstimate& memory, const PlannedRun& run, const RankCount& count) {
  const bool has_plan_of_phases = run.data.phases && !run.start_up.is_used();
  const std::string where = has_plan_of_phases ? "--phases, task " + run.data.phases->largest_task().task
                                               : source_of_batch(run.config);
  train::require_memory_for_batch(memory, largest_share(run, count), where);
}

PlannedChanges planned_changes(const PlannedRun& run, int64_t total_steps) {
  PlannedChanges planned;
  planned.changes = train::changes_of(run.state, run.config.train, total_steps);
  planned.remarks = train::change_remarks(planned.changes, run.state, run.config.train, total_steps);
  return planned;
}

}  // namespace gca::app
