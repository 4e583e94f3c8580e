#pragma once
// The learning rate as a pure function of the step: linear warm-up, then by the kind of schedule. w: warm-up,
// n: length of the schedule, d: length of the decay, all in steps.
//
//   step < w            peak (step + 1) / w
//   cosine              floor + (peak - floor) (1 + cos(pi (step - w) / (n - w))) / 2
//   wsd, step < n - d   peak; then peak + (floor - peak) (step - (n - d)) / d, in a line
//   constant            peak
//
// From step n on cosine and wsd are at the floor. wsd is warm-up, stable, decay (arXiv 2404.06395): the stable part
// needs no length, and a decay can begin at any checkpoint of it.

#include <cstdint>
#include <string>
#include <vector>

#include "lib/train/settings/train_config.h"

namespace gca::train {

enum class ScheduleKind { cosine, wsd, constant };

/// The values of `schedule`.
std::vector<std::string> schedule_names();

struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0.0;
  double floor = 0.0;
  int64_t warmup_steps = 0;  ///< w
  int64_t total_steps = 0;   ///< n
  int64_t decay_steps = 0;   ///< d; what is left after the warm-up where that is less

  /// Of optimizer step `step`, counted from 0.
  double at(int64_t step) const;
};

/// The schedule of a run of `total_steps` steps. `config` must be valid.
LearningRateSchedule make_schedule(const TrainConfig& config, int64_t total_steps);

}  // namespace gca::train
