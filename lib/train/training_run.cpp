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

/// A run under way: what it has beside its state, and what may happen after a step.
class TrainingLoop {
 public:
  TrainingLoop(Trainer& trainer, TrainerState& state, const ValidationPlan& validation,
               const RunOptions& options);

  RunEnd run();

 private:
  void drop_earlier_files();
  void record_changes();
  void record(const nlohmann::ordered_json& line);
  /// On all ranks: is it so on any?
  bool on_any_rank(bool here) const;
  bool is_stopped() const { return on_any_rank(options_.stop != nullptr && options_.stop->load()); }
  /// Saves where that is asked for from outside.
  void save_if_asked();

  void make_step();
  void show_progress();
  /// Ends the phase where its task is learned.
  void look_at_goal();
  bool is_validation_due() const;
  bool is_validated() const;
  /// Validates. False when it was cut short by a stop.
  bool look();
  std::vector<ValidationResult> look_at_all();

  void save_into(const std::string& folder);
  void save();
  void save_if_best();
  void save_if_due();
  /// Keeps the checkpoint of a phase that ends here and names it.
  void keep_phase();

  Trainer& trainer_;
  TrainerState& state_;
  const ValidationPlan& validation_;
  const RunOptions& options_;
  const TrainConfig& config_;
  parallel::Communicator* const communicator_;
  // Rank 0 writes and decides; what it writes about, all ranks compute alike.
  const bool writes_;
  const int64_t first_step_;
  const int64_t last_step_;
  std::optional<MetricsLog> metrics_;
  std::optional<EventFile> events_;
  ProgressLine progress_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point last_save_ = begin_;
  bool is_saved_;
};

TrainingLoop::TrainingLoop(Trainer& trainer, TrainerState& state, const ValidationPlan& validation,
                           const RunOptions& options)
    : trainer_(trainer),
      state_(state),
      validation_(validation),
      options_(options),
      config_(state.train),
      communicator_(trainer.communicator()),
      writes_(communicator_ == nullptr || communicator_->rank() == 0),
      first_step_(state.step),
      last_step_(options.stop_at > 0 ? std::min(options.stop_at, state.total_steps) : state.total_steps),
      progress_(options.quiet || !writes_),
      is_saved_(!options.is_new && options.changes.empty()) {
  if (!writes_) return;
  metrics_.emplace(options.output + "/metrics.jsonl", options.is_new ? -1 : state.step);
  if (options.is_new) drop_earlier_files();
  if (options.tensorboard) events_.emplace(options.output, state.step);
}

RunEnd TrainingLoop::run() {
  record_changes();
  // From the first instant there is something to resume, and a full disk shows before the work and not after
  // it.
  if (state_.step == 0 && !is_validated()) look();
  if (state_.step == 0 || options_.is_new) save();

  // A stop cut it short.
  if (state_.step > 0 && is_validation_due() && !is_validated()) look();

  while (state_.step < last_step_ && !is_stopped()) {
    make_step();
    show_progress();
    look_at_goal();
    if (is_validation_due()) look();
    save_if_due();
    keep_phase();
    save_if_asked();
  }

  const bool is_complete =
      state_.step >= state_.total_steps ? is_validated() || look() : state_.step >= last_step_;
  if (!is_saved_) save();
  return is_complete ? RunEnd::finished : RunEnd::interrupted;
}

void TrainingLoop::drop_earlier_files() {
  remove_event_files(options_.output);
  std::vector<std::string> named;
  if (options_.phases)
    for (const TrainingPhase& phase : options_.phases->phases())
      if (!phase.kept_as.empty()) named.push_back(phase.kept_as);
  remove_kept_checkpoints(options_.output, named);
}

void TrainingLoop::record_changes() {
  if (options_.changes.empty()) return;
  nlohmann::ordered_json line = {{"step", state_.step}, {"changes", nlohmann::ordered_json::array()}};
  for (const SettingChange& change : options_.changes) {
    line["changes"].push_back(setting_change_to_json(change));
    state_.changes.push_back(change);
  }
  record(line);
}

void TrainingLoop::record(const nlohmann::ordered_json& line) {
  if (metrics_) metrics_->append(line);
  if (events_) events_->append(line);
}

bool TrainingLoop::on_any_rank(bool here) const {
  return communicator_ == nullptr ? here : communicator_->any(here, "whether to stop or save");
}

void TrainingLoop::save_if_asked() {
  if (!on_any_rank(options_.save != nullptr && options_.save->exchange(false))) return;
  save();
  progress_.say(fmt::format("step {}: saved, as asked", state_.step));
}

void TrainingLoop::make_step() {
  const auto begin = Clock::now();
  profile::OperatorProfile* profile = state_.step > first_step_ ? options_.profile : nullptr;
  if (profile != nullptr) profile->start();
  const StepResult result =
      trainer_.make_step(state_.step, state_.sequences, is_due(state_.step, config_.diagnostics_interval));
  if (profile != nullptr) profile->stop();
  const double step_seconds = seconds_since(begin);

  ++state_.step;
  state_.sequences += result.sequences;
  state_.tokens += result.text_tokens;
  state_.train_seconds += step_seconds;
  state_.recent_losses.push_back(result.loss);
  if (state_.recent_losses.size() > TrainerState::kRecentLosses)
    state_.recent_losses.erase(state_.recent_losses.begin());
  is_saved_ = false;
  record(step_line(result, state_, step_seconds));
}

void TrainingLoop::show_progress() {
  std::vector<double> passes;
  if (options_.data_uses)
    for (const DataUse& use : options_.data_uses(state_.sequences)) passes.push_back(use.passes);
  const double pace = seconds_since(begin_) / static_cast<double>(state_.step - first_step_);
  progress_.update({state_.step, state_.total_steps, state_.tokens, passes, state_.train_loss(),
                    static_cast<double>(state_.tokens) / state_.train_seconds,
                    pace * static_cast<double>(last_step_ - state_.step)});
}

void TrainingLoop::look_at_goal() {
  const auto goal = options_.phases ? options_.phases->goal_due(state_.step) : std::nullopt;
  if (!goal) return;
  const std::string name = options_.phases->phase_after(state_.step).name;
  ValidationSource source = validation_(state_.step)[goal->task];
  source.sequences = std::min(source.sequences, kSequencesToDecide);
  const auto looked_at_with =
      std::make_shared<const model::ModelConfig>(trainer_.config_with(source.settings->model));
  const double accuracy =
      validate(trainer_.model(), source, source.batch, looked_at_with, nullptr, communicator_).accuracy;
  const bool is_learned = accuracy >= goal->accuracy;
  record(
      {{"step", state_.step},
       {"goal", {{"phase", name}, {"task", source.task}, {"accuracy", accuracy}, {"is_met", is_learned}}}});
  if (!is_learned) return;
  options_.phases->end_phase(state_.step);
  state_.phases = options_.phases->json();
  progress_.say(fmt::format("step {}: {:.1f} % of {} right: \"{}\" ends", state_.step, 100 * accuracy,
                            source.task, name));
}

bool TrainingLoop::is_validation_due() const {
  return is_due(state_.step, config_.eval_interval) && state_.step < state_.total_steps;
}

bool TrainingLoop::is_validated() const {
  return !state_.valid_results.empty() && state_.valid_results.back().step == state_.step;
}

bool TrainingLoop::look() {
  std::vector<ValidationResult> results;
  try {
    results = look_at_all();
  } catch (const Stopped&) {
    return false;
  }
  for (const ValidationResult& result : results) {
    record({{"step", state_.step}, {"valid", validation_to_json(result)}});
    state_.valid_results.push_back(result);
  }
  is_saved_ = false;
  save_if_best();
  return true;
}

std::vector<ValidationResult> TrainingLoop::look_at_all() {
  const auto poll = [&] {
    save_if_asked();
    if (is_stopped()) throw Stopped();
  };
  std::vector<ValidationResult> results;
  for (const ValidationSource& source : validation_(state_.step)) {
    if (source.sequences == 0) continue;
    const model::ModelConfig looked_at =
        source.settings ? trainer_.config_with(source.settings->model) : trainer_.config_after(state_.step);
    const auto looked_at_with = std::make_shared<const model::ModelConfig>(looked_at);
    ValidationResult result =
        validate(trainer_.model(), source, source.batch, looked_at_with, poll, communicator_);
    result.reading = measure_reading(trainer_.model(), source, source.batch, looked_at_with);
    result.step = state_.step;
    result.tokens = state_.tokens;
    progress_.say(validation_text(result));
    if (result.reading && looked_at.retriever == "learned" && is_choice_dead(*result.reading) &&
        state_.step > 0 && kStepsToChoose * state_.step >= state_.total_steps)
      progress_.say(kDeadChoice);
    results.push_back(std::move(result));
  }
  return results;
}

void TrainingLoop::save_into(const std::string& folder) {
  // The step that made it so ended well; the next one would not, and there must be something to go back to.
  if (const auto weight = first_non_finite_weight(trainer_.model()))
    fail_run(fmt::format("step {}", state_.step), "weight " + *weight + " is not finite",
             "the last checkpoint is untouched; " + trainer_.way_out_of_non_finite());
  save_checkpoint(folder, trainer_.model(), trainer_.config_after(state_.step), trainer_.optimizer(), state_,
                  options_.tokenizer_file, communicator_);
}

void TrainingLoop::save() {
  save_into(checkpoint_folder(options_.output));
  if (writes_ && config_.keep_checkpoints > 0 && state_.step > 0)
    keep_checkpoint(options_.output, state_.step, config_.keep_checkpoints);
  last_save_ = Clock::now();
  is_saved_ = true;
}

void TrainingLoop::save_if_best() {
  if (!config_.keep_best || state_.valid_results.empty()) return;
  if (!on_any_rank(writes_ && loss_to_compare(state_.valid_results) < best_kept_loss(options_.output)))
    return;
  save_into(best_checkpoint_folder(options_.output));
}

void TrainingLoop::save_if_due() {
  const bool minutes_passed = writes_ && config_.checkpoint_minutes > 0 &&
                              seconds_since(last_save_) >= 60 * config_.checkpoint_minutes;
  if (is_due(state_.step, config_.checkpoint_interval) || on_any_rank(minutes_passed)) save();
}

void TrainingLoop::keep_phase() {
  const TrainingPhase* ended = options_.phases ? options_.phases->phase_ended_by(state_.step) : nullptr;
  if (ended == nullptr || ended->kept_as.empty()) return;
  if (!is_saved_) save();
  if (writes_) keep_checkpoint_as(options_.output, ended->kept_as);
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
  return TrainingLoop(trainer, state, validation, options).run();
}

}  // namespace gca::train
