#pragma once
// Training in phases, from a file: what is trained on, how long, and how the settings of a step move
// meanwhile. No LibTorch.
//
//   {"phases": [{
//      "name": "passkeys, short", "steps": 400,
//      "learning_rate": [2e-3, 1e-3],     a pair moves evenly from the first step of the phase to the last;
//      "residual_blend": [1, 0],          so may gumbel_scale, weight_rounding, retrieval_dropout, sliding_window
//      "chunk_size": 32,                  what is left out is as in the configuration
//      "tasks": [{"task": "passkey", "share": 2, "chunks": 8, "batch": 16},
//                {"task": "self-copy", "copy_chunks": 4}],
//      "until": {"task": "passkey", "accuracy": 0.9, "every": 25},
//      "keep": "short"                    the checkpoint at its end is kept as RUN/kept/short
//   }]}
//
// Every step is of one task; the tasks of a phase take turns so that each has its share (1 where none is
// given) of the steps. A task of a later phase goes on in its sequences where the last one stopped, if their
// length and chunk size are the same: text is read on, and not from its beginning again. A phase with `until`
// ends before its last step where, every so many steps, that share of the task's held-out targets is right; the
// last phase takes the steps that are left. A setting at a task wins over one at its phase, which wins over the configuration. A
// checkpoint keeps chunk_size, chunk_top_k and what moves as the first task of its phase has it. `chunks`
// stands for context: so many chunks of text; every task that does not make its own length needs one of the
// two.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/train/settings/run_config.h"

namespace gca::train {

/// A number that moves evenly.
struct Ramp {
  double from = 0.0;
  double to = 0.0;

  /// `way` from 0 to 1.
  double at(double way) const { return from + way * (to - from); }
};

/// What one optimizer step is made with: settings with what moves at its place.
struct StepSettings {
  double learning_rate = 0.0;
  model::ModelConfig model;
  TrainConfig train;
};

/// A setting that moves, by its key.
struct RampedSetting {
  std::string key;
  Ramp ramp;
};

struct PhaseTask {
  std::string task;
  double share = 1.0;
  RunConfig config;  ///< the settings of this task's steps but for those that move
  std::vector<RampedSetting> ramps;
  size_t stream = 0;  ///< number of the sequences that it reads, which other phases may go on with

  /// The settings `way` (0 to 1) through the phase. Throws Error(usage) naming `where` when a number that
  /// moves is none that its setting can take.
  RunConfig config_at(double way, const std::string& where = "phases") const;
};

/// What ends a phase before its last step: one of its tasks is learned.
struct PhaseGoal {
  size_t task = 0;        ///< of the phase
  double accuracy = 0.0;  ///< share of the held-out targets that must be right
  int64_t every = 1;      ///< steps of the phase from one look to the next
};

struct TrainingPhase {
  std::string name;
  int64_t steps = 0;
  std::vector<PhaseTask> tasks;
  std::optional<PhaseGoal> goal = {};
  std::string kept_as = {};  ///< name of the checkpoint that is kept at its end; empty for none
};

/// Where a step stands.
struct PhaseStep {
  size_t phase = 0;
  size_t task = 0;               ///< of the phase
  int64_t step = 0;              ///< within the phase
  int64_t stream_sequences = 0;  ///< of its task's stream, consumed before
  int64_t sequences = 0;         ///< of the whole run, consumed before
};

class TrainingPhases {
 public:
  static constexpr int64_t kMaxSteps = 10'000'000;  ///< of all phases together

  /// `json` as above, laid over `base`. Throws Error(usage) naming `where`.
  TrainingPhases(const nlohmann::json& json, const RunConfig& base, const std::string& where);
  /// Reads a file.
  static nlohmann::json read(const std::string& path);

  const std::vector<TrainingPhase>& phases() const { return phases_; }
  int64_t total_steps() const { return static_cast<int64_t>(steps_.size()); }
  /// 0 <= step < total_steps().
  const PhaseStep& where(int64_t step) const { return steps_[static_cast<size_t>(step)]; }
  /// The step that begins after so many consumed sequences of the run.
  int64_t step_after(int64_t sequences) const;
  StepSettings at(int64_t step) const { return at(step, where(step).task); }
  /// What a checkpoint after `steps` steps keeps: the settings of its phase's first task.
  StepSettings kept_after(int64_t steps) const;
  /// The phase of the last of the run's first `steps` steps, 1 or more.
  const TrainingPhase& phase_after(int64_t steps) const { return phases_[where(steps - 1).phase]; }
  /// The goal to look at after the run's first `steps` steps: nothing where none is due, or where the phase ends
  /// here anyway.
  std::optional<PhaseGoal> goal_due(int64_t steps) const;
  /// The phase that ends with the last of the run's first `steps` steps; null where none does.
  const TrainingPhase* phase_ended_by(int64_t steps) const;
  /// The phase of the last of the run's first `steps` steps, not the last phase, ends with it; the last phase takes
  /// the steps that are left.
  void end_phase(int64_t steps);
  /// The plan as it is now, for TrainingPhases(json, ...).
  const nlohmann::json& json() const { return json_; }
  /// The data decides how long the sequences of a task are.
  void set_context(size_t phase, size_t task, int64_t context);
  size_t stream_count() const { return stream_count_; }
  /// How many of the run's first `sequences` sequences are of that stream.
  int64_t sequences_of_stream(size_t stream, int64_t sequences) const;
  /// Of all steps.
  int64_t total_sequences() const;
  /// Text tokens of the steps from `begin` until before `end`.
  int64_t tokens_of_steps(int64_t begin, int64_t end) const;
  /// Of all steps.
  int64_t total_tokens() const { return tokens_of_steps(0, total_steps()); }
  /// The task whose micro-batch has the most text tokens.
  const PhaseTask& largest_task() const;
  /// What that step would be made with if its phase's task number `task` had its turn.
  StepSettings at(int64_t step, size_t task) const;

 private:
  void number_streams();
  void lay_out_steps();

  nlohmann::json json_;
  std::vector<TrainingPhase> phases_;
  std::vector<PhaseStep> steps_;
  size_t stream_count_ = 0;
  std::vector<std::vector<int64_t>> consumed_before_;  // by phase and stream
};

}  // namespace gca::train
