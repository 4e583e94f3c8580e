#include "lib/report/charts/report_charts.h"

#include <doctest/doctest.h>

#include "lib/report/charts/curves.h"

using namespace gca;
using nlohmann::json;

namespace {

/// The chart of this title; null where there is none.
json chart_named(const json& charts, const std::string& title) {
  for (const json& chart : charts)
    if (chart["title"] == title) return chart;
  return nullptr;
}

json titles_of(const json& charts) {
  json titles = json::array();
  for (const json& chart : charts) titles.push_back(chart["title"]);
  return titles;
}

json charts_of(std::vector<const report::RunResults*> runs) {
  return report::report_charts({{}, {{"a", std::move(runs), {}}}});
}

}  // namespace

TEST_CASE("There is a chart for what was measured, and none for what was not") {
  report::RunResults run;
  CHECK(charts_of({&run}) == json::array());
  run.valid = {{.step = 1, .tokens = 10, .loss = 3.0}};
  CHECK(titles_of(charts_of({&run})) == json::array({"Validation loss"}));
  run.valid[0].bits_per_byte = 1.5;
  run.train = {{.step = 1, .tokens = 10, .loss = 3.0, .tokens_per_second = 7}};
  CHECK(titles_of(charts_of({&run})) ==
        json{"Validation loss", "Validation, bits per byte", "Training loss", "Tokens per second, training"});
}

TEST_CASE("A point over training has its step, tokens, minutes where they are known, and value") {
  report::RunResults run;
  run.valid = {{.step = 0, .tokens = 0, .loss = 8.0, .seconds = 0},
               {.step = 4, .tokens = 400, .loss = 1.23456789}};
  const json points = charts_of({&run})[0]["series"][0]["points"];
  CHECK(points == json::array({{0.0, 0.0, 0.0, 8.0}, {4.0, 400.0, nullptr, 1.23457}}));
}

TEST_CASE("Tasks are validated apart") {
  report::RunResults run, other;
  run.valid = {{.step = 1, .loss = 3.0, .task = "text"},
               {.step = 1, .loss = 0.5, .accuracy = 0.25, .task = "recall"}};
  other.valid = {{.step = 1, .loss = 4.0}};  // of text alone
  const json charts = report::report_charts({{}, {{"a", {&run}, {}}, {"b", {&other}, {}}}});
  CHECK(titles_of(charts) ==
        json{"Validation loss, text", "Validation loss, recall", "Validation accuracy, recall"});
  CHECK(charts[0]["series"].size() == 2);
  CHECK(charts[0]["series"][1]["points"][0][3] == 4.0);
  CHECK(charts[1]["series"].size() == 1);
  CHECK(charts[1]["series"][0]["points"][0][3] == 0.5);
  CHECK(charts[2]["series"][0]["points"][0][3] == 25.0);
}

TEST_CASE("The health of the retrieval: gains, losses with each choice, and the spread of the scores") {
  report::RunResults run, without;
  run.valid = {{.step = 0, .loss = 8.0, .reading = {8.0, 8.0, 8.5, 0.25}},
               {.step = 5, .loss = 3.0, .reading = {3.0, 3.25, 4.0, 1.5}}};
  without.valid = {{.step = 5, .loss = 3.5}};  // a window has nothing to read
  run.train = {{.step = 1, .spread = 0.5, .entropy = 1.75, .mean_distance = 96}};
  const json charts = report::report_charts({{}, {{"a", {&run}, {}}, {"b", {&without}, {}}}});
  const auto values = [&](const std::string& title, size_t series) {
    json all = json::array();
    const json chart = chart_named(charts, title);
    REQUIRE_MESSAGE(chart.is_object(), title);
    CHECK(chart["section"] == "Retrieval");
    CHECK(chart["series"][series]["group"] == 0);
    for (const json& point : chart["series"][series]["points"]) all.push_back(point[3]);
    return all;
  };
  CHECK(values("What reading gains", 0) == json{0.5, 1.0});
  CHECK(values("What choosing gains", 0) == json{0.0, 0.25});
  CHECK(values("Loss with three choices", 0) == json{8.0, 3.0});
  CHECK(values("Loss with three choices", 1) == json{8.0, 3.25});
  CHECK(values("Loss with three choices", 2) == json{8.5, 4.0});
  CHECK(values("Spread of the scores, validation", 0) == json{0.25, 1.5});
  CHECK(values("Spread of the scores, training", 0) == json::array({0.5}));
  CHECK(values("Entropy of the weights, training", 0) == json::array({1.75}));
  CHECK(values("Distance of what is read, training", 0) == json::array({96.0}));
  CHECK(chart_named(charts, "What reading gains")["series"].size() == 1);
}

TEST_CASE("Several runs of a group give a line each and one for their mean") {
  report::RunResults first, second;
  first.train = {{1, 10, 4.0}, {2, 20, 2.0}, {3, 30, 1.0}};
  second.train = {{1, 10, 6.0}, {2, 20, 3.0}};  // has not come as far
  const json series = charts_of({&first, &second})[0]["series"];
  REQUIRE(series.size() == 3);
  CHECK(series[0]["is_single_run"] == true);
  CHECK(series[0]["points"].size() == 3);
  CHECK(series[2]["is_single_run"] == false);
  CHECK(series[2]["points"] == json::array({{1.0, 10.0, nullptr, 5.0}, {2.0, 20.0, nullptr, 2.5}}));
}

TEST_CASE("The mean of curves with other steps is that of their straight lines") {
  const std::vector<report::TrainingValue> coarse = {{0, 0, 0, 8.0}, {10, 100, 10, 4.0}};
  const std::vector<report::TrainingValue> fine = {
      {0, 0, 0, 6.0}, {5, 50, 10, 2.0}, {10, 100, 20, 1.0}, {15, 150, 30, 0.0}};
  const std::vector<report::TrainingValue> mean = report::mean_curve({coarse, fine});
  REQUIRE(mean.size() == 3);
  CHECK(mean[0].y == 7.0);
  CHECK(mean[1].step == 5);
  CHECK(mean[1].seconds == 7.5);
  CHECK(mean[1].y == 4.0);
  CHECK(mean[2].y == 2.5);
}

TEST_CASE("A long curve is thinned by means over all of it, unknown losses are left out") {
  report::RunResults run;
  for (int64_t step = 0; step < 3000; ++step)
    run.train.push_back(
        {step, 10 * step, step % 2 == 0 ? static_cast<double>(step) : report::kUnknownNumber});
  const json points = charts_of({&run})[0]["series"][0]["points"];
  REQUIRE(points.size() == 300);
  // Of 1500 that are known, five to a point: 0, 2, 4, 6, 8.
  CHECK(points[0] == json{4.0, 40.0, nullptr, 4.0});
  CHECK(points[299] == json{2994.0, 29940.0, nullptr, 2994.0});
}

TEST_CASE(
    "Values of the same size are means over runs, a line for each retriever, and what the choice gains") {
  report::RunResults first, second;
  first.contexts = {
      {1024, "learned", 1.0, 10.0, 1}, {1024, "none", 3.0, 30.0, 2}, {4096, "learned", 1.5, 8.0, 1}};
  second.contexts = {{1024, "learned", 2.0, 14.0, 3}};
  const json charts = charts_of({&first, &second});
  const json chart = chart_named(charts, "Perplexity by context");
  REQUIRE(chart["series"].size() == 2);
  CHECK(chart["x"] == "size");
  CHECK(chart["series"][0]["line"] == "learned");
  CHECK(chart["series"][0]["points"] == json::array({{1024.0, 12.0}, {4096.0, 8.0}}));
  CHECK(chart["series"][1]["line"] == "none");
  CHECK(chart_named(charts, "Bits per byte by context")["series"][0]["points"][0] == json{1024.0, 2.0});
  CHECK(chart_named(charts, "What reading gains by context")["series"][0]["points"] ==
        json::array({{1024.0, 1.5}}));
  CHECK(chart_named(charts, "What choosing gains by context") == nullptr);
}

TEST_CASE("What was read from other data is another chart, and no mean") {
  report::RunResults run;
  run.contexts = {{1024, "learned", 1.0, 10.0, 1, "x/books"}, {1024, "learned", 2.0, 30.0, 2, "x/code"}};
  const json charts = charts_of({&run});
  CHECK(chart_named(charts, "Perplexity by context, on books")["series"][0]["points"] ==
        json::array({{1024.0, 10.0}}));
  CHECK(chart_named(charts, "Perplexity by context, on code")["series"][0]["points"] ==
        json::array({{1024.0, 30.0}}));
}

TEST_CASE("Losses by position are those of the context that most groups have, the longest of several") {
  report::RunResults run, other;
  run.positions = {{1024, "learned", 0, 16, 5.0},
                   {2048, "learned", 0, 16, 4.0},
                   {2048, "learned", 16, 32, 3.0},
                   {4096, "learned", 0, 16, 2.0}};
  other.positions = {{2048, "learned", 0, 16, 6.0}, {1024, "learned", 0, 16, 6.5}};
  const json charts = report::report_charts({{}, {{"a", {&run}, {}}, {"b", {&other}, {}}}});
  const json chart = chart_named(charts, "Loss by position, at a context of 2K");
  REQUIRE(chart.is_object());
  CHECK(chart["series"][0]["points"] == json::array({{16.0, 4.0}, {32.0, 3.0}}));
  CHECK(chart["series"][1]["points"] == json::array({{16.0, 6.0}}));
}

TEST_CASE("Hits at a depth are added up over runs, a place without trials has no cell") {
  report::RunResults first, second;
  first.recalls = {{"passkey", "learned", 1024, 0.0, 10, 9},
                   {"passkey", "learned", 4096, 0.5, 10, 2},
                   {"passkey", "learned", 1024, report::kUnknownNumber, 20, 18}};
  second.recalls = {{"passkey", "learned", 1024, 0.0, 30, 1}};
  const json charts = charts_of({&first, &second});
  CHECK(chart_named(charts, "passkey: found, by context")["series"][0]["points"] ==
        json::array({{1024.0, 90.0}}));
  const json map = chart_named(charts, "passkey: % found");
  CHECK(map["group"] == 0);
  CHECK(map["line"] == "learned");
  CHECK(map["columns"]["labels"] == json{"1K", "4K"});
  CHECK(map["rows"]["labels"] == json{"0 %", "50 %"});
  CHECK(map["cells"][0][0]["share"] == 0.25);
  CHECK(map["cells"][0][0]["hint"] == "context 1024, depth 0 %: 10 of 40");
  CHECK(map["cells"][0][1] == nullptr);
  CHECK(map["cells"][1][0] == nullptr);
  CHECK(map["cells"][1][1]["share"] == 0.2);
}

TEST_CASE("Speeds of a benchmark are charts by mode") {
  report::RunResults run;
  run.speeds = {{"training", 1024, 100}, {"decoding", 1024, 7}, {"decoding", 4096, 6}};
  const json charts = charts_of({&run});
  CHECK(titles_of(charts) == json{"Benchmark: decoding", "Benchmark: training"});
  CHECK(charts[0]["series"][0]["points"] == json::array({{1024.0, 7.0}, {4096.0, 6.0}}));
}
