#include "lib/train/settings/lr_schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace gca::train {
namespace {

constexpr std::array kNames = {"cosine", "wsd", "constant"};  // in the order of ScheduleKind

int64_t part_of(int64_t steps, double fraction, int64_t total_steps) {
  return steps > 0 ? steps : static_cast<int64_t>(std::ceil(fraction * static_cast<double>(total_steps)));
}

}  // namespace

std::vector<std::string> schedule_names() {
  return {kNames.begin(), kNames.end()};
}

double LearningRateSchedule::at(int64_t step) const {
  if (step < warmup_steps) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (kind == ScheduleKind::constant) return peak;
  if (step >= total_steps) return floor;
  const int64_t begin =
      kind == ScheduleKind::wsd ? std::max(warmup_steps, total_steps - decay_steps) : warmup_steps;
  if (step < begin) return peak;
  const double way = static_cast<double>(step - begin) / static_cast<double>(total_steps - begin);
  if (kind == ScheduleKind::wsd) return peak + (floor - peak) * way;
  return floor + (peak - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * way));
}

LearningRateSchedule make_schedule(const TrainConfig& config, int64_t total_steps) {
  LearningRateSchedule schedule;
  const auto name = std::find(kNames.begin(), kNames.end(), config.schedule);
  schedule.kind = static_cast<ScheduleKind>(name - kNames.begin());
  schedule.peak = config.learning_rate;
  schedule.floor = config.min_learning_rate;
  schedule.total_steps = config.schedule_steps > 0 ? config.schedule_steps : total_steps;
  schedule.warmup_steps = part_of(config.warmup_steps, config.warmup_fraction, schedule.total_steps);
  schedule.decay_steps = part_of(config.decay_steps, config.decay_fraction, schedule.total_steps);
  return schedule;
}

}  // namespace gca::train
