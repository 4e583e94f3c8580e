#include "lib/report/report_page.h"

#include "lib/core/json/json_report.h"
#include "lib/report/charts/report_charts.h"
#include "lib/report/runs/group_summary.h"

namespace gca::report {

// The files of lib/report/page.
extern const std::string_view kPageHtml;
extern const std::string_view kPageStyle;
extern const std::string_view kNumbersScript;
extern const std::string_view kViewScript;
extern const std::string_view kLineChartScript;
extern const std::string_view kHeatMapScript;
extern const std::string_view kTablesScript;
extern const std::string_view kPageScript;

namespace {

using nlohmann::json;

json to_json(const Spread& spread) {
  return {{"mean", spread.mean}, {"low", spread.low}, {"high", spread.high}};
}

json group_to_json(const RunGroup& group) {
  const GroupSummary summary = summarise(group);
  json runs = json::array(), contexts = json::array();
  for (const RunResults* run : group.runs)
    runs.push_back({{"name", run->name},
                    {"path", run->path},
                    {"seed", run->seed},
                    {"steps", run->steps},
                    {"planned_steps", run->planned_steps},
                    {"has_ended", run->has_ended}});
  for (const ContextSummary& context : summary.contexts)
    contexts.push_back({{"data", context.data},
                        {"retriever", context.retriever},
                        {"context", context.context},
                        {"loss", to_json(context.loss)},
                        {"bits_per_byte", to_json(context.bits_per_byte)}});
  return {{"name", group.name},
          {"values", group.values},
          {"seeds", summary.seeds},
          {"parameters", summary.parameters},
          {"steps", summary.steps},
          {"planned_steps", summary.planned_steps},
          {"tokens", summary.tokens},
          {"has_ended", summary.has_ended},
          {"seconds", to_json(summary.seconds)},
          {"tokens_per_second", to_json(summary.tokens_per_second)},
          {"loss", to_json(summary.loss)},
          {"bits_per_byte", to_json(summary.bits_per_byte)},
          {"of_reading", to_json(summary.of_reading)},
          {"of_choice", to_json(summary.of_choice)},
          {"score_spread", to_json(summary.score_spread)},
          {"contexts", std::move(contexts)},
          {"runs", std::move(runs)}};
}

void put(std::string& page, std::string_view mark, std::string_view content) {
  page.replace(page.find(mark), mark.size(), content);
}

}  // namespace

std::string report_page(const Comparison& comparison) {
  json data = {{"settings", comparison.settings}, {"groups", json::array()}};
  for (const RunGroup& group : comparison.groups) data["groups"].push_back(group_to_json(group));
  data["charts"] = report_charts(comparison);
  std::string scripts;
  for (const std::string_view script :
       {kNumbersScript, kViewScript, kLineChartScript, kHeatMapScript, kTablesScript, kPageScript})
    scripts += script;
  std::string page(kPageHtml);
  // The data last: what it holds is never searched for a mark.
  put(page, "@STYLE@", kPageStyle);
  put(page, "@SCRIPTS@", scripts);
  put(page, "@DATA@", json_in_script(data));
  return page;
}

}  // namespace gca::report
