#pragma once
// Curves over training: thinned for a page, and averaged over seeds.

#include <span>
#include <vector>

#include "lib/report/charts/chart.h"

namespace gca::report {

inline constexpr size_t kCurvePoints = 300;  ///< a longer curve is drawn by means

/// By means over equal numbers of values; unknown ones are left out.
std::vector<TrainingValue> thinned(std::span<const TrainingValue> values);

/// The mean over the steps that all curves have reached, at every step at which one has a value; between its
/// values a curve is taken as straight. The curves are not empty and ascend in their steps.
std::vector<TrainingValue> mean_curve(const std::vector<std::vector<TrainingValue>>& curves);

}  // namespace gca::report
