#include "lib/report/charts/curves.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace gca::report {
namespace {

TrainingValue between(const TrainingValue& a, const TrainingValue& b, double step) {
  const double way = b.step > a.step ? (step - a.step) / (b.step - a.step) : 1.0;
  const auto mix = [way](double from, double to) { return way == 1.0 ? to : from + way * (to - from); };
  return {step, mix(a.tokens, b.tokens), mix(a.seconds, b.seconds), mix(a.y, b.y)};
}

/// `step` lies within the curve.
TrainingValue value_at(const std::vector<TrainingValue>& curve, double step) {
  const auto next = std::lower_bound(curve.begin(), curve.end(), step,
                                     [](const TrainingValue& value, double at) { return value.step < at; });
  return next == curve.begin() ? *next : between(*(next - 1), *next, step);
}

}  // namespace

std::vector<TrainingValue> thinned(std::span<const TrainingValue> values) {
  std::vector<TrainingValue> means;
  const size_t count = std::min(values.size(), kCurvePoints);
  for (size_t i = 0; i < count; ++i) {
    TrainingValue mean{0, 0, 0, 0};
    double known = 0;
    for (size_t j = i * values.size() / count; j < (i + 1) * values.size() / count; ++j) {
      if (!std::isfinite(values[j].y)) continue;
      mean.step += values[j].step;
      mean.tokens += values[j].tokens;
      mean.seconds += values[j].seconds;
      mean.y += values[j].y;
      known += 1;
    }
    if (known > 0)
      means.push_back({mean.step / known, mean.tokens / known, mean.seconds / known, mean.y / known});
  }
  return means;
}

std::vector<TrainingValue> mean_curve(const std::vector<std::vector<TrainingValue>>& curves) {
  std::set<double> steps;
  double first = 0, last = 0;
  for (const auto& curve : curves) {
    for (const TrainingValue& value : curve) steps.insert(value.step);
    first = &curve == &curves.front() ? curve.front().step : std::max(first, curve.front().step);
    last = &curve == &curves.front() ? curve.back().step : std::min(last, curve.back().step);
  }
  std::vector<TrainingValue> means;
  const auto count = static_cast<double>(curves.size());
  for (const double step : steps) {
    if (step < first || step > last) continue;
    TrainingValue sum{step, 0, 0, 0};
    for (const auto& curve : curves) {
      const TrainingValue value = value_at(curve, step);
      sum.tokens += value.tokens, sum.seconds += value.seconds, sum.y += value.y;
    }
    means.push_back({step, sum.tokens / count, sum.seconds / count, sum.y / count});
  }
  return means;
}

}  // namespace gca::report
