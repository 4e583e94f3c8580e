#pragma once
// The learning rate as a pure function of the step: linear warm-up, then half a cosine.
//
//   step < w:  peak (step + 1) / w
//   else:      floor + (peak - floor) (1 + cos(pi (step - w) / (n - w))) / 2,  floor from step n on

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace gca::train {

struct LearningRateSchedule {
  double peak = 0.0;
  double floor = 0.0;
  int64_t warmup_steps = 0;  ///< w
  int64_t total_steps = 0;   ///< n

  /// Of optimizer step `step`, counted from 0.
  double at(int64_t step) const {
    if (step < warmup_steps) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    if (step >= total_steps) return floor;
    const double way =
        static_cast<double>(step - warmup_steps) / static_cast<double>(total_steps - warmup_steps);
    return floor + (peak - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * way));
  }
};

}  // namespace gca::train
