#pragma once
// Charts of what was measured when the training was over: loss by context and position, speed.

#include "lib/report/charts/chart.h"

namespace gca::report {

/// Adds those charts of which at least one group has a value. What was read from several data sets stands
/// apart.
void add_context_charts(const Comparison& comparison, nlohmann::json& charts);
/// Of the context that most groups were measured at, the longest of several.
void add_position_charts(const Comparison& comparison, nlohmann::json& charts);
void add_benchmark_charts(const Comparison& comparison, nlohmann::json& charts);

}  // namespace gca::report
