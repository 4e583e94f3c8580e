#include "lib/train/training_run.h"

#include <fmt/format.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>
#include <optional>

#include "lib/core/error.h"
#include "lib/core/seconds_since.h"
#include "lib/train/checkpoints/checkpoint.h"
#include "lib/train/checkpoints/kept_checkpoints.h"
#include "lib/train/progress/event_file.h"
#include "lib/train/progress/measure_reading.h"
#include "lib/train/progress/metrics_log.h"
#include "lib/train/progress/progress_line.h"
#include "lib/train/progress/validation.h"
#include "lib/train/step/non_finite.h"

namespace gca::train {
namespace {

using Clock = std::chrono::steady_clock;

nlohmann::ordered_json step_line(const StepResult& result, const TrainerState& state, double step_seconds) {
  nlohmann::ordered_json line;
  line["step"] = state.step;
  line["tokens"] = state.tokens;
  line["loss"] = result.loss;
  line["bits_per_byte"] =
      result.target_bytes > 0
          ? nlohmann::ordered_json(result.loss * static_cast<double>(result.target_count) /
                                   std::numbers::ln2 / result.target_bytes)
          : nlohmann::ordered_json(nullptr);
  line["learning_rate"] = result.learning_rate;
  line["gradient_norm"] = result.gradient_norm;
  line["residual_blend"] = result.residual_blend;
  line["tokens_per_second"] = static_cast<double>(result.text_tokens) / step_seconds;
  if (!result.retrieval.empty()) {
    line["retrieval"] = nlohmann::ordered_json::array();
    for (const GroupDiagnostics& group : result.retrieval)
      line["retrieval"].push_back(
          {{"spread", group.spread}, {"entropy", group.entropy}, {"mean_distance", group.mean_distance}});
  }
  return line;
}

std::string validation_text(const ValidationResult& result) {
  std::string text =
      fmt::format("step {}: {}valid loss {:.4f}, perplexity {:.2f}", result.step,
                  result.task.empty() ? "" : result.task + ": ", result.loss, result.perplexity);
  if (!std::isnan(result.bits_per_byte)) text += fmt::format(", {:.4f} bits per byte", result.bits_per_byte);
  if (result.loses_text) text += ", no bits per byte: unknown tokens stand for text that is lost";
  if (result.reading) text += "; " + reading_text(*result.reading);
  if (!std::isnan(result.accuracy))
    text += fmt::format(", {:.1f} % {}", 100 * result.accuracy, result.task.empty() ? "copied" : "right");
  return text;
}

/// Before this part of its steps, one in so many, a run need not have begun to choose.
constexpr int64_t kStepsToChoose = 3;
constexpr const char* kDeadChoice =
    "warning: the learned choice of chunks is no better than a random one; docs/training.md, \"Text that "
    "retrieves\", "
    "says what starts it";

/// Whether a phase has reached its goal is decided by at most so many sequences.
constexpr int64_t kSequencesToDecide = 16;

/// Thrown out of a validation.
struct Stopped {};

/// Is `step` one of every `interval`th? 0: never.
bool is_due(int64_t step, int64_t interval) {
  return interval > 0 && step % interval == 0;
}

}  // namespace

int64_t steps_within(double seconds, double step_seconds, double validation_seconds, int64_t eval_interval) {
  // One validation before the first step and one after the last.
  const double for_steps = seconds - 2 * validation_seconds;
  const double each =
      step_seconds + (eval_interval > 0 ? validation_seconds / static_cast<double>(eval_interval) : 0.0);
  return std::max<int64_t>(1, static_cast<int64_t>(for_steps / each));
}

RunEnd run_training(Trainer& trainer, TrainerState& state, const ValidationPlan& validation,
                    const RunOptions& options) {
  const TrainConfig& config = state.train;
  const int64_t last_step =
      options.stop_at > 0 ? std::min(options.stop_at, state.total_steps) : state.total_steps;
  parallel::Communicator* const communicator = trainer.communicator();
  // Rank 0 writes and decides; what it writes about, all ranks compute alike.
  const bool writes = communicator == nullptr || communicator->rank() == 0;
  std::optional<MetricsLog> metrics;
  std::optional<EventFile> events;
  if (writes) {
    metrics.emplace(options.output + "/metrics.jsonl", options.is_new ? -1 : state.step);
    if (options.is_new) {
      remove_event_files(options.output);
      std::vector<std::string> named;
      if (options.phases)
        for (const TrainingPhase& phase : options.phases->phases()) named.push_back(phase.kept_as);
      std::erase(named, "");
      remove_kept_checkpoints(options.output, named);
    }
    if (options.tensorboard) events.emplace(options.output, state.step);
  }
  const auto record = [&](const nlohmann::ordered_json& line) {
    if (metrics) metrics->append(line);
    if (events) events->append(line);
  };
  ProgressLine progress(options.quiet || !writes);
  /// On all ranks: is it so on any?
  const auto on_any_rank = [&](bool here) {
    return communicator == nullptr ? here : communicator->any(here, "whether to stop or save");
  };
  const auto is_stopped = [&] { return on_any_rank(options.stop != nullptr && options.stop->load()); };
  const auto run_start = Clock::now();
  const int64_t first_step = state.step;
  Clock::time_point last_save = Clock::now();
  bool is_saved = !options.is_new && options.changes.empty();

  if (!options.changes.empty()) {
    nlohmann::ordered_json line = {{"step", state.step}, {"changes", nlohmann::ordered_json::array()}};
    for (const SettingChange& change : options.changes) {
      line["changes"].push_back(setting_change_to_json(change));
      state.changes.push_back(change);
    }
    record(line);
  }

  const auto passes = [&] {
    std::vector<double> list;
    if (options.data_uses)
      for (const DataUse& use : options.data_uses(state.sequences)) list.push_back(use.passes);
    return list;
  };
  const auto save_into = [&](const std::string& folder) {
    // The step that made it so ended well; the next one would not, and there must be something to go back to.
    if (const auto weight = first_non_finite_weight(trainer.model()))
      fail_run(fmt::format("step {}", state.step), "weight " + *weight + " is not finite",
               "the last checkpoint is untouched; " + trainer.way_out_of_non_finite());
    save_checkpoint(folder, trainer.model(), trainer.config_after(state.step), trainer.optimizer(), state,
                    options.tokenizer_file, communicator);
  };
  const auto save = [&] {
    save_into(checkpoint_folder(options.output));
    if (writes && config.keep_checkpoints > 0 && state.step > 0)
      keep_checkpoint(options.output, state.step, config.keep_checkpoints);
    last_save = Clock::now();
    is_saved = true;
  };
  const auto keep_phase = [&] {
    const TrainingPhase* ended = options.phases ? options.phases->phase_ended_by(state.step) : nullptr;
    if (ended == nullptr || ended->kept_as.empty()) return;
    save();
    if (writes) keep_checkpoint_as(options.output, ended->kept_as);
  };
  const auto save_if_best = [&] {
    if (!config.keep_best || state.valid_results.empty()) return;
    if (!on_any_rank(writes && loss_to_compare(state.valid_results) < best_kept_loss(options.output))) return;
    save_into(best_checkpoint_folder(options.output));
  };
  const auto save_as_asked = [&] {
    save();
    progress.say(fmt::format("step {}: saved, as asked", state.step));
  };
  const auto is_save_asked = [&] { return options.save != nullptr && options.save->exchange(false); };
  const auto poll = [&] {
    if (on_any_rank(is_save_asked())) save_as_asked();
    if (is_stopped()) throw Stopped();
  };
  const auto look_at_all = [&] {
    std::vector<ValidationResult> results;
    for (const ValidationSource& source : validation(state.step)) {
      if (source.sequences == 0) continue;
      const model::ModelConfig looked_at =
          source.settings ? trainer.config_with(source.settings->model) : trainer.config_after(state.step);
      const auto looked_at_with = std::make_shared<const model::ModelConfig>(looked_at);
      ValidationResult result =
          validate(trainer.model(), source, source.batch, looked_at_with, poll, communicator);
      result.reading = measure_reading(trainer.model(), source, source.batch, looked_at_with);
      result.step = state.step;
      result.tokens = state.tokens;
      progress.say(validation_text(result));
      if (result.reading && looked_at.retriever == "learned" && is_choice_dead(*result.reading) &&
          state.step > 0 && kStepsToChoose * state.step >= state.total_steps)
        progress.say(kDeadChoice);
      results.push_back(std::move(result));
    }
    return results;
  };
  /// False when it was cut short by a stop.
  const auto look = [&] {
    std::vector<ValidationResult> results;
    try {
      results = look_at_all();
    } catch (const Stopped&) {
      return false;
    }
    for (const ValidationResult& result : results) {
      record({{"step", state.step}, {"valid", validation_to_json(result)}});
      state.valid_results.push_back(result);
    }
    is_saved = false;
    save_if_best();
    return true;
  };
  const auto is_validated = [&] {
    return !state.valid_results.empty() && state.valid_results.back().step == state.step;
  };
  const auto is_validation_due = [&] {
    return is_due(state.step, config.eval_interval) && state.step < state.total_steps;
  };

  /// Ends the phase where its task is learned.
  const auto look_at_goal = [&] {
    const auto goal = options.phases ? options.phases->goal_due(state.step) : std::nullopt;
    if (!goal) return;
    const std::string name = options.phases->phase_after(state.step).name;
    ValidationSource source = validation(state.step)[goal->task];
    source.sequences = std::min(source.sequences, kSequencesToDecide);
    const auto looked_at_with =
        std::make_shared<const model::ModelConfig>(trainer.config_with(source.settings->model));
    const double accuracy =
        validate(trainer.model(), source, source.batch, looked_at_with, nullptr, communicator).accuracy;
    const bool is_learned = accuracy >= goal->accuracy;
    record(
        {{"step", state.step},
         {"goal", {{"phase", name}, {"task", source.task}, {"accuracy", accuracy}, {"is_met", is_learned}}}});
    if (!is_learned) return;
    options.phases->end_phase(state.step);
    state.phases = options.phases->json();
    progress.say(fmt::format("step {}: {:.1f} % of {} right: \"{}\" ends", state.step, 100 * accuracy,
                             source.task, name));
  };

  // From the first instant there is something to resume, and a full disk shows before the work and not after
  // it.
  if (state.step == 0 && !is_validated()) look();
  if (state.step == 0 || options.is_new) save();

  // A stop cut it short.
  if (state.step > 0 && is_validation_due() && !is_validated()) look();

  while (state.step < last_step && !is_stopped()) {
    const auto step_start = Clock::now();
    profile::OperatorProfile* profile = state.step > first_step ? options.profile : nullptr;
    if (profile != nullptr) profile->start();
    const StepResult result =
        trainer.make_step(state.step, state.sequences, is_due(state.step, config.diagnostics_interval));
    if (profile != nullptr) profile->stop();
    const double step_seconds = seconds_since(step_start);

    ++state.step;
    state.sequences += result.sequences;
    state.tokens += result.text_tokens;
    state.train_seconds += step_seconds;
    state.recent_losses.push_back(result.loss);
    if (state.recent_losses.size() > TrainerState::kRecentLosses)
      state.recent_losses.erase(state.recent_losses.begin());
    is_saved = false;

    record(step_line(result, state, step_seconds));
    const double pace = seconds_since(run_start) / static_cast<double>(state.step - first_step);
    progress.update({state.step, state.total_steps, state.tokens, passes(), state.train_loss(),
                     static_cast<double>(state.tokens) / state.train_seconds,
                     pace * static_cast<double>(last_step - state.step)});

    look_at_goal();
    if (is_validation_due()) look();
    keep_phase();
    const bool minutes_passed =
        writes && config.checkpoint_minutes > 0 && seconds_since(last_save) >= 60 * config.checkpoint_minutes;
    if (is_due(state.step, config.checkpoint_interval) || on_any_rank(minutes_passed)) save();
    if (on_any_rank(is_save_asked())) save_as_asked();
  }

  const bool is_complete =
      state.step >= state.total_steps ? is_validated() || look() : state.step >= last_step;
  if (!is_saved) save();
  return is_complete ? RunEnd::finished : RunEnd::interrupted;
}

}  // namespace gca::train
