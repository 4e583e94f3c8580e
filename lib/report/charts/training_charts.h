#pragma once
// Charts over training: losses, what reading gains, the scores of the retrieval, speed.

#include "lib/report/charts/chart.h"

namespace gca::report {

/// Adds those charts of which at least one group has a value.
void add_loss_charts(const Comparison& comparison, nlohmann::json& charts);
void add_retrieval_charts(const Comparison& comparison, nlohmann::json& charts);
void add_speed_charts(const Comparison& comparison, nlohmann::json& charts);

}  // namespace gca::report
