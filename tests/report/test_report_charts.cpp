#include "lib/report/report_charts.h"

#include <doctest/doctest.h>

#include <set>

using namespace gca;
using nlohmann::json;

namespace {

/// The chart of this title; null where there is none.
json chart_named(const json& charts, const std::string& title) {
  for (const json& chart : charts)
    if (chart["title"] == title) return chart;
  return nullptr;
}

}  // namespace

TEST_CASE("There is a chart for what was measured, and none for what was not") {
  report::RunResults run;
  const report::RunGroup group{"a", {&run}};
  CHECK(report::report_charts({&group, 1}) == json::array());
  run.valid = {{1, 10, 3.0}};
  const json charts = report::report_charts({&group, 1});
  REQUIRE(charts.size() == 1);
  CHECK(charts[0]["title"] == "Validation loss");
}

TEST_CASE("Several runs of a group give a line each and one for their mean") {
  report::RunResults first, second;
  first.train = {{1, 10, 4.0}, {2, 20, 2.0}, {3, 30, 1.0}};
  second.train = {{1, 10, 6.0}, {2, 20, 3.0}};  // has not come as far
  const report::RunGroup group{"a", {&first, &second}};
  const json series = report::report_charts({&group, 1})[0]["series"];
  REQUIRE(series.size() == 3);
  CHECK(series[0]["is_single_run"] == true);
  CHECK(series[0]["points"].size() == 3);
  CHECK(series[2]["is_single_run"] == false);
  CHECK(series[2]["points"] == json{{10.0, 5.0}, {20.0, 2.5}});
}

TEST_CASE("A long curve is thinned by means over all of it, unknown losses are left out") {
  report::RunResults run;
  for (int64_t step = 0; step < 3000; ++step)
    run.train.push_back(
        {step, 10 * step, step % 2 == 0 ? static_cast<double>(step) : report::kUnknownNumber});
  const report::RunGroup group{"a", {&run}};
  const json points = report::report_charts({&group, 1})[0]["series"][0]["points"];
  REQUIRE(points.size() == 300);
  // Ten steps to a point, five of them known: 0, 2, 4, 6, 8.
  CHECK(points[0] == json{40.0, 4.0});
  CHECK(points[299] == json{29940.0, 2994.0});
}

TEST_CASE("Values of the same size are means over runs, retrievers after the first are dashed") {
  report::RunResults first, second;
  first.contexts = {{1024, "learned", 1, 10.0, 1}, {1024, "none", 1, 30.0, 1}, {4096, "learned", 1, 8.0, 1}};
  second.contexts = {{1024, "learned", 1, 14.0, 1}};
  const report::RunGroup group{"a", {&first, &second}};
  const json chart = chart_named(report::report_charts({&group, 1}), "Perplexity by context");
  REQUIRE(chart["series"].size() == 2);
  CHECK(chart["x"]["is_log2"] == true);
  CHECK(chart["series"][0]["label"] == "a, learned");
  CHECK(chart["series"][0]["points"] == json{{1024.0, 12.0}, {4096.0, 8.0}});
  CHECK(chart["series"][0]["is_dashed"] == false);
  CHECK(chart["series"][1]["is_dashed"] == true);
}

TEST_CASE("Losses by position are those of the longest context") {
  report::RunResults run;
  run.positions = {
      {1024, "learned", 0, 16, 5.0}, {2048, "learned", 0, 16, 4.0}, {2048, "learned", 16, 32, 3.0}};
  const report::RunGroup group{"a", {&run}};
  const json chart = chart_named(report::report_charts({&group, 1}), "Loss by position, at a context of 2K");
  REQUIRE(chart.is_object());
  CHECK(chart["series"][0]["points"] == json{{16.0, 4.0}, {32.0, 3.0}});
}

TEST_CASE("Hits at a depth are added up over runs, a place without trials has no cell") {
  report::RunResults first, second;
  first.recalls = {{"passkey", "learned", 1024, 0.0, 10, 9},
                   {"passkey", "learned", 4096, 0.5, 10, 2},
                   {"passkey", "learned", 1024, report::kUnknownNumber, 20, 18}};
  second.recalls = {{"passkey", "learned", 1024, 0.0, 30, 1}};
  const report::RunGroup group{"a", {&first, &second}};
  const json charts = report::report_charts({&group, 1});
  CHECK(chart_named(charts, "passkey: found, by context")["series"][0]["points"] == json{{1024.0, 90.0}});
  const json map = chart_named(charts, "passkey: % found; a");
  CHECK(map["columns"]["labels"] == json{"1K", "4K"});
  CHECK(map["rows"]["labels"] == json{"0 %", "50 %"});
  CHECK(map["cells"][0][0]["share"] == 0.25);
  CHECK(map["cells"][0][0]["hint"] == "context 1024, depth 0 %: 10 of 40");
  CHECK(map["cells"][0][1] == nullptr);
  CHECK(map["cells"][1][0] == nullptr);
  CHECK(map["cells"][1][1]["share"] == 0.2);
}
