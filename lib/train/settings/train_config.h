#pragma once
// The settings of a training run besides the model's sizes: optimizer, schedules, batch, intervals. Plain
// data; the keys of the table are those of presets, --set and trainer_state.json.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/core/json/config_fields.h"
#include "lib/tasks/task_settings.h"

namespace gca::train {

struct TrainConfig {
  // Learning rate (lr_schedule.h).
  std::string schedule = "cosine";
  double learning_rate = 2e-3;
  double min_learning_rate = 4e-4;
  double warmup_fraction = 0.02;  ///< of the schedule; used when warmup_steps is 0
  int64_t warmup_steps = 0;
  double decay_fraction = 0.1;  ///< of the schedule, wsd only; used when decay_steps is 0
  int64_t decay_steps = 0;
  int64_t schedule_steps = 0;  ///< length of the schedule; 0: the steps of the run

  // Factors on the learning rate, by part of the model.
  double embedding_factor = 1.0;
  double lower_factor = 1.0;
  double encoder_factor = 1.0;  ///< the chunk encoder, its norms included
  double memory_factor = 1.0;   ///< W_k and W_v of chunk memory
  double upper_factor = 1.0;    ///< upper decoder, query norms, final norm

  // AdamW.
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-6;
  double weight_decay = 0.001;  ///< decoupled, on every weight that decays (lib/model/layers/weight.h)
  double gradient_clip = 1.0;   ///< largest global norm; 0: no clipping

  // A step is gradient_accumulation micro-batches of `batch` sequences of `context` text tokens.
  int64_t batch = 1;
  int64_t gradient_accumulation = 1;
  int64_t context = 2048;
  bool recompute_activations = false;

  // Retrieval while training.
  std::string start_up =
      "none";  ///< layers to begin text with: none, shipped, train, or the folder of a checkpoint
  bool gumbel_noise = true;
  double weight_rounding = 0.0;  ///< threshold below which retrieval weights are rounded at random; 0: none
  double group_dropout = 0.0;  ///< G > 1: probability that a group, drawn at random, reads nothing in a step
  double retrieval_dropout = 0.0;     ///< probability that a sequence of a step reads nothing
  double residual_blend_start = 1.0;  ///< lambda before residual_blend_begin, when a schedule is set
  int64_t residual_blend_begin = 0;   ///< step at which lambda starts to move to the model's residual_blend
  int64_t residual_blend_end = 0;     ///< step at which it arrives; 0: no schedule

  // What kinds of backbone do in training alone.
  int64_t bptt_segments = 0;        ///< rmt: gradients cross memory inside blocks of so many segments; 0: all
  int64_t crossbatch_contexts = 7;  ///< fot: d, local contexts before its own that one sees
  bool crossbatch_stepping = true;  ///< fot: fewer of them at the beginning of a row
  bool codebook_straight_through = true;  ///< longvq: gradient to far keys as if scored themselves
  double commitment_weight = 0.02;        ///< longvq: beta, of the distance of keys to their codes
  double codebook_decay = 0.99;           ///< longvq: gamma, of counts and sums from step to step
  double codebook_revival =
      0.05;  ///< longvq: share of the mean count below which a code starts again; 0: never

  tasks::TaskSettings tasks;  ///< of the tasks that are trained on (lib/tasks/task_kinds.h)

  // Intervals, in steps; 0: never (a run always ends with a validation and a checkpoint).
  int64_t eval_interval = 200;
  int64_t eval_sequences = 16;
  int64_t checkpoint_interval = 0;
  double checkpoint_minutes = 10.0;  ///< also after so many minutes since the last one
  int64_t diagnostics_interval = 10;

  // Checkpoints beside the last one (kept_checkpoints.h).
  int64_t keep_checkpoints = 0;
  bool keep_best = false;

  /// lambda of h' = a + lambda o + MLP(m) at `step` (0-based), `target` being the model's own.
  double residual_blend_at(int64_t step, double target) const;
  int64_t sequences_per_step() const { return batch * gradient_accumulation; }

  /// Throws Error(usage) naming the key in `where` that is out of range.
  void validate(const std::string& where) const;
};

/// All but TrainConfig::tasks, whose settings are in the list of tasks.
std::span<const ConfigField<TrainConfig>> train_config_fields();

/// True for keys that change when something is looked at or saved, but not one bit of the training: a resumed
/// run may change them.
bool is_observation_key(const std::string& key);

/// True for keys of the optimizer and its schedule: a resumed run may change them where --change asks for it.
bool is_optimizer_key(const std::string& key);
std::vector<std::string> optimizer_keys();

}  // namespace gca::train
