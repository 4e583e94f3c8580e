#include "lib/train/settings/train_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/core/error.h"
#include "lib/tasks/task_kinds.h"
#include "lib/train/settings/lr_schedule.h"

namespace gca::train {
namespace {

using Field = ConfigField<TrainConfig>;

const std::array kFields = {
    Field{"learning_rate", &TrainConfig::learning_rate, "peak of the learning rate", Change::ramp},
    Field{"min_learning_rate", &TrainConfig::min_learning_rate, "where cosine and wsd end"},
    Field{"schedule", &TrainConfig::schedule,
          "learning rate after the warm-up: cosine; wsd: stable, then decay; constant"},
    Field{"decay_fraction", &TrainConfig::decay_fraction, "wsd: part of the schedule that is decay"},
    Field{"decay_steps", &TrainConfig::decay_steps, "wsd: steps of decay; 0: by decay_fraction"},
    Field{"warmup_fraction", &TrainConfig::warmup_fraction, "part of the schedule that is warm-up"},
    Field{"warmup_steps", &TrainConfig::warmup_steps, "steps of warm-up; 0: by warmup_fraction"},
    Field{"schedule_steps", &TrainConfig::schedule_steps, "length of the schedule; 0: the steps of the run"},
    Field{"learning_rate_factor_embedding", &TrainConfig::embedding_factor, "factor for the embedding"},
    Field{"learning_rate_factor_lower", &TrainConfig::lower_factor, "factor for the lower decoder"},
    Field{"learning_rate_factor_encoder", &TrainConfig::encoder_factor, "factor for the chunk encoder"},
    Field{"learning_rate_factor_memory", &TrainConfig::memory_factor,
          "factor for chunk keys and values, and for the memory of rmt"},
    Field{"learning_rate_factor_upper", &TrainConfig::upper_factor, "factor for the upper decoder"},
    Field{"adam_beta1", &TrainConfig::adam_beta1, "decay of the first moment"},
    Field{"adam_beta2", &TrainConfig::adam_beta2, "decay of the second moment"},
    Field{"adam_epsilon", &TrainConfig::adam_epsilon, "added to the root of the second moment"},
    Field{"weight_decay", &TrainConfig::weight_decay,
          "decoupled weight decay, on every weight but rates, steps and D of Mamba heads"},
    Field{"gradient_clip", &TrainConfig::gradient_clip, "largest norm of the gradient; 0: no clipping"},
    Field{"batch", &TrainConfig::batch, "sequences of a micro-batch", Change::per_phase},
    Field{"gradient_accumulation", &TrainConfig::gradient_accumulation, "micro-batches of a step"},
    Field{"context", &TrainConfig::context, "text tokens of a sequence", Change::per_phase},
    Field{"recompute_activations", &TrainConfig::recompute_activations,
          "keep layer inputs only and run each layer again in backward"},
    Field{"start_up", &TrainConfig::start_up,
          "layers that text training begins with: none, shipped (with gca, for the sizes of presets), train "
          "(by the first phases of the run), or a checkpoint"},
    Field{"gumbel_noise", &TrainConfig::gumbel_noise, "noise on the choice of chunks while training"},
    Field{"weight_rounding", &TrainConfig::weight_rounding,
          "retrieval weights below this are rounded at random, to it or to 0; 0: as they are", Change::ramp},
    Field{"group_dropout", &TrainConfig::group_dropout,
          "part of the steps in which one group, drawn at random, reads nothing: each must serve alone",
          Change::per_phase},
    Field{"retrieval_dropout", &TrainConfig::retrieval_dropout,
          "part of the sequences that read nothing, drawn at random: the windows must serve alone",
          Change::ramp},
    Field{"residual_blend_start", &TrainConfig::residual_blend_start, "lambda of a + lambda o at the start"},
    Field{"residual_blend_begin", &TrainConfig::residual_blend_begin, "step at which lambda begins to move"},
    Field{"residual_blend_end", &TrainConfig::residual_blend_end,
          "step at which lambda is the model's residual_blend; 0: no schedule"},
    Field{"bptt_segments", &TrainConfig::bptt_segments,
          "rmt: gradients cross memory inside blocks of so many segments; 0: all", Change::per_phase},
    Field{"crossbatch_contexts", &TrainConfig::crossbatch_contexts,
          "fot: local contexts before its own, of other rows too, that one sees in training",
          Change::per_phase},
    Field{"crossbatch_stepping", &TrainConfig::crossbatch_stepping,
          "fot: fewer of them at the beginning of a row", Change::per_phase},
    Field{"codebook_straight_through", &TrainConfig::codebook_straight_through,
          "longvq: keys beyond the window learn as if they themselves had been scored; false: not at all",
          Change::per_phase},
    Field{"commitment_weight", &TrainConfig::commitment_weight,
          "longvq: factor on the mean squared distance of keys to their codes, added to the loss",
          Change::ramp},
    Field{"codebook_decay", &TrainConfig::codebook_decay,
          "longvq: what of counts and sums of a code stays from step to step", Change::per_phase},
    Field{"codebook_revival", &TrainConfig::codebook_revival,
          "longvq: a code whose count is below this share of the mean starts again at a key; 0: never",
          Change::per_phase},
    Field{"eval_interval", &TrainConfig::eval_interval, "steps between validations; 0: at the ends only"},
    Field{"eval_sequences", &TrainConfig::eval_sequences, "sequences of a validation", Change::per_phase},
    Field{"checkpoint_interval", &TrainConfig::checkpoint_interval,
          "steps between checkpoints; 0: by minutes"},
    Field{"checkpoint_minutes", &TrainConfig::checkpoint_minutes, "minutes between checkpoints; 0: by steps"},
    Field{"diagnostics_interval", &TrainConfig::diagnostics_interval,
          "steps between looks at the retrieval; 0: never"},
    Field{"keep_checkpoints", &TrainConfig::keep_checkpoints, "how many of the newest checkpoints are kept"},
    Field{"keep_best", &TrainConfig::keep_best, "keep the checkpoint with the lowest validation loss"},
};

constexpr std::array kObservationKeys = {"eval_interval",      "eval_sequences",       "checkpoint_interval",
                                         "checkpoint_minutes", "diagnostics_interval", "keep_checkpoints",
                                         "keep_best"};

constexpr std::array kOptimizerKeys = {"learning_rate",
                                       "min_learning_rate",
                                       "schedule",
                                       "warmup_fraction",
                                       "warmup_steps",
                                       "decay_fraction",
                                       "decay_steps",
                                       "schedule_steps",
                                       "learning_rate_factor_embedding",
                                       "learning_rate_factor_lower",
                                       "learning_rate_factor_encoder",
                                       "learning_rate_factor_memory",
                                       "learning_rate_factor_upper",
                                       "adam_beta1",
                                       "adam_beta2",
                                       "adam_epsilon",
                                       "weight_decay",
                                       "gradient_clip"};

}  // namespace

std::span<const ConfigField<TrainConfig>> train_config_fields() {
  return kFields;
}

bool is_observation_key(const std::string& key) {
  return std::find(kObservationKeys.begin(), kObservationKeys.end(), key) != kObservationKeys.end();
}

std::vector<std::string> optimizer_keys() {
  return {kOptimizerKeys.begin(), kOptimizerKeys.end()};
}

bool is_optimizer_key(const std::string& key) {
  return std::find(kOptimizerKeys.begin(), kOptimizerKeys.end(), key) != kOptimizerKeys.end();
}

double TrainConfig::residual_blend_at(int64_t step, double target) const {
  if (residual_blend_end <= 0 || step >= residual_blend_end) return target;
  if (step <= residual_blend_begin) return residual_blend_start;
  const double way = static_cast<double>(step - residual_blend_begin) /
                     static_cast<double>(residual_blend_end - residual_blend_begin);
  return residual_blend_start + way * (target - residual_blend_start);
}

void TrainConfig::validate(const std::string& where) const {
  const auto require = [&](bool holds, const char* key, const char* expected) {
    if (!holds) fail_usage(where, std::string(key) + " is out of range", std::string("give ") + expected);
  };
  const auto is_positive = [](double x) { return std::isfinite(x) && x > 0; };
  const auto is_not_negative = [](double x) { return std::isfinite(x) && x >= 0; };
  require(is_positive(learning_rate), "learning_rate", "a number above 0");
  require(is_not_negative(min_learning_rate) && min_learning_rate <= learning_rate, "min_learning_rate",
          "a number from 0 to learning_rate");
  require(warmup_fraction >= 0 && warmup_fraction <= 1, "warmup_fraction", "a number from 0 to 1");
  require(warmup_steps >= 0, "warmup_steps", "0 or more");
  require(schedule_steps >= 0, "schedule_steps", "0 or more");
  const std::vector<std::string> schedules = schedule_names();
  if (std::find(schedules.begin(), schedules.end(), schedule) == schedules.end())
    fail_usage(where, "schedule is \"" + schedule + "\"",
               "did you mean \"" + nearest_name(schedule, schedules) + "\"?");
  require(decay_fraction >= 0 && decay_fraction <= 1, "decay_fraction", "a number from 0 to 1");
  require(decay_steps >= 0, "decay_steps", "0 or more");
  require(is_not_negative(embedding_factor), "learning_rate_factor_embedding", "a number of 0 or more");
  require(is_not_negative(lower_factor), "learning_rate_factor_lower", "a number of 0 or more");
  require(is_not_negative(encoder_factor), "learning_rate_factor_encoder", "a number of 0 or more");
  require(is_not_negative(memory_factor), "learning_rate_factor_memory", "a number of 0 or more");
  require(is_not_negative(upper_factor), "learning_rate_factor_upper", "a number of 0 or more");
  require(adam_beta1 >= 0 && adam_beta1 < 1, "adam_beta1", "a number from 0 to below 1");
  require(adam_beta2 >= 0 && adam_beta2 < 1, "adam_beta2", "a number from 0 to below 1");
  require(is_positive(adam_epsilon), "adam_epsilon", "a number above 0");
  require(is_not_negative(weight_decay), "weight_decay", "a number of 0 or more");
  require(is_not_negative(gradient_clip), "gradient_clip", "a number of 0 or more");
  // Numbers of sequences and tokens of a step stay far from the end of 64 bits.
  const auto is_count = [](int64_t x) { return x > 0 && x <= (1 << 20); };
  require(is_count(batch), "batch", "1 to 1M");
  require(is_count(gradient_accumulation), "gradient_accumulation", "1 to 1M");
  require(context > 1 && context <= (1 << 30), "context", "2 to 1G text tokens");
  require(!start_up.empty(), "start_up", "none, shipped, train or the folder of a checkpoint");
  require(weight_rounding >= 0 && weight_rounding <= 1, "weight_rounding", "a number from 0 to 1");
  require(group_dropout >= 0 && group_dropout <= 1, "group_dropout", "a number from 0 to 1");
  require(retrieval_dropout >= 0 && retrieval_dropout <= 1, "retrieval_dropout", "a number from 0 to 1");
  require(std::isfinite(residual_blend_start), "residual_blend_start", "a number");
  require(residual_blend_begin >= 0, "residual_blend_begin", "0 or more");
  require(residual_blend_end == 0 || residual_blend_end >= residual_blend_begin, "residual_blend_end",
          "0, or a step not before residual_blend_begin");
  require(bptt_segments >= 0, "bptt_segments", "0 or more");
  require(crossbatch_contexts >= 0, "crossbatch_contexts", "0 or more");
  require(is_not_negative(commitment_weight), "commitment_weight", "a number of 0 or more");
  require(codebook_decay >= 0 && codebook_decay <= 1, "codebook_decay", "a number from 0 to 1");
  require(codebook_revival >= 0 && codebook_revival <= 1, "codebook_revival", "a number from 0 to 1");
  tasks::validate_task_settings(tasks, tasks::all_task_settings(), tasks::SettingNames::keys, where);
  require(eval_interval >= 0, "eval_interval", "0 or more steps");
  require(eval_sequences > 0, "eval_sequences", "1 or more");
  require(checkpoint_interval >= 0, "checkpoint_interval", "0 or more steps");
  require(is_not_negative(checkpoint_minutes), "checkpoint_minutes", "0 or more");
  require(diagnostics_interval >= 0, "diagnostics_interval", "0 or more steps");
  require(keep_checkpoints >= 0, "keep_checkpoints", "0 or more");
}

}  // namespace gca::train
