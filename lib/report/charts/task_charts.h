#pragma once
// Charts of planted tasks: how often what was hidden in a text was found.

#include "lib/report/charts/chart.h"

namespace gca::report {

/// For each task and data set that at least one group was measured with: accuracy by context, and a map by
/// context and depth for each group and retriever.
void add_task_charts(const Comparison& comparison, nlohmann::json& charts);

}  // namespace gca::report
