#include "lib/report/charts/report_charts.h"

#include "lib/report/charts/evaluation_charts.h"
#include "lib/report/charts/task_charts.h"
#include "lib/report/charts/training_charts.h"

namespace gca::report {

nlohmann::json report_charts(const Comparison& comparison) {
  nlohmann::json charts = nlohmann::json::array();
  add_loss_charts(comparison, charts);
  add_retrieval_charts(comparison, charts);
  add_context_charts(comparison, charts);
  add_position_charts(comparison, charts);
  add_task_charts(comparison, charts);
  add_speed_charts(comparison, charts);
  add_benchmark_charts(comparison, charts);
  return charts;
}

}  // namespace gca::report
