#include "lib/report/report_page.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lib/core/json/json_report.h"
#include "lib/report/report_charts.h"

namespace gca::report {

extern const std::string_view kReportPageHtml;  // report_page.html

namespace {

using nlohmann::json;

constexpr std::string_view kDataMark = "@DATA@";

struct GroupFacts {
  std::string seeds;
  int64_t parameters = 0;
  int64_t tokens = 0;
  Spread loss;  ///< of the last validation
  Spread speed;
};

GroupFacts facts_of(const RunGroup& group) {
  GroupFacts facts;
  std::vector<double> losses, speeds;
  for (const RunResults* run : group.runs) {
    facts.seeds += (facts.seeds.empty() ? "" : ", ") + std::to_string(run->seed);
    facts.parameters = std::max(facts.parameters, run->parameters);
    for (const auto* list : {&run->train, &run->valid})
      if (!list->empty()) facts.tokens = std::max(facts.tokens, list->back().tokens);
    if (!run->valid.empty()) losses.push_back(run->valid.back().loss);
    speeds.push_back(run->tokens_per_second);
  }
  facts.loss = spread_of(losses);
  facts.speed = spread_of(speeds);
  return facts;
}

std::string number_or_dash(double x, const char* format) {
  return std::isfinite(x) ? fmt::format(fmt::runtime(format), x) : "-";
}

json group_to_json(const RunGroup& group) {
  const GroupFacts facts = facts_of(group);
  json runs = json::array();
  for (const RunResults* run : group.runs) runs.push_back(run->name);
  return {{"label", group.label},
          {"seeds", facts.seeds},
          {"parameters", facts.parameters},
          {"tokens", facts.tokens},
          {"loss", {{"mean", facts.loss.mean}, {"low", facts.loss.low}, {"high", facts.loss.high}}},
          {"tokens_per_second", facts.speed.mean},
          {"runs", std::move(runs)}};
}

}  // namespace

std::string report_table(std::span<const RunGroup> groups) {
  size_t width = 8;
  for (const RunGroup& group : groups) width = std::max(width, group.label.size());
  std::string table = fmt::format("{:<{}}{:>6}{:>13}{:>12}{:>12}{:>20}{:>12}\n", "settings", width, "runs",
                                  "parameters", "tokens", "valid loss", "range", "perplexity");
  for (const RunGroup& group : groups) {
    const GroupFacts facts = facts_of(group);
    table += fmt::format(
        "{:<{}}{:>6}{:>13}{:>12}{:>12}{:>20}{:>12}\n", group.label, width, group.runs.size(),
        facts.parameters, facts.tokens, number_or_dash(facts.loss.mean, "{:.4f}"),
        number_or_dash(facts.loss.low, "{:.4f}") + " to " + number_or_dash(facts.loss.high, "{:.4f}"),
        number_or_dash(std::exp(facts.loss.mean), "{:.2f}"));
  }
  return table;
}

std::string report_page(std::span<const RunGroup> groups) {
  json data;
  data["groups"] = json::array();
  for (const RunGroup& group : groups) data["groups"].push_back(group_to_json(group));
  data["charts"] = report_charts(groups);
  std::string page(kReportPageHtml);
  page.replace(page.find(kDataMark), kDataMark.size(), json_in_script(data));
  return page;
}

}  // namespace gca::report
