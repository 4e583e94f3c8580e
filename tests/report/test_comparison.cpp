#include "lib/report/runs/comparison.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace gca;

namespace {

report::RunResults run_of(const std::string& name, const nlohmann::json& settings, uint64_t seed) {
  report::RunResults run;
  run.name = name;
  run.settings = settings;
  run.seed = seed;
  return run;
}

}  // namespace

TEST_CASE("Runs that differ in their seed alone stand together, in the order given") {
  const std::vector<report::RunResults> runs = {run_of("none-1", {{"batch", 1}, {"long_range", "none"}}, 1),
                                                run_of("gca", {{"batch", 1}, {"long_range", "gca"}}, 1),
                                                run_of("none-2", {{"batch", 1}, {"long_range", "none"}}, 2)};
  const report::Comparison comparison = report::compare_runs(runs);
  CHECK(comparison.settings == std::vector<std::string>{"long_range"});
  const std::vector<report::RunGroup>& groups = comparison.groups;
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].name == "none-*");
  CHECK(groups[0].values == std::vector<std::string>{"none"});
  CHECK(groups[0].runs == std::vector<const report::RunResults*>{&runs[0], &runs[2]});
  CHECK(groups[1].name == "gca");
  CHECK(groups[1].runs == std::vector<const report::RunResults*>{&runs[1]});
  CHECK(report::settings_text(comparison, groups[1]) == "long_range gca");
}

TEST_CASE("A run of an older version, which lacks a setting, is no other setting") {
  const std::vector<report::RunResults> runs = {run_of("old", {{"batch", 1}}, 0),
                                                run_of("new", {{"batch", 1}, {"schedule", "cosine"}}, 1)};
  const report::Comparison comparison = report::compare_runs(runs);
  CHECK(comparison.settings.empty());
  CHECK(comparison.groups.size() == 1);
}

TEST_CASE("Neither what has no settings yet nor what is of another kind are seeds of the same") {
  std::vector<report::RunResults> runs = {run_of("a", nlohmann::json::object(), 0),
                                          run_of("b", nlohmann::json::object(), 0),
                                          run_of("c", {{"batch", 1}}, 0), run_of("d", {{"batch", 1}}, 0)};
  runs[3].kind = report::RunKind::evaluation;
  CHECK(report::compare_runs(runs).groups.size() == 4);
  CHECK(report::compare_runs({}).groups.empty());
}

TEST_CASE("Several runs are called by what their names share") {
  const auto name = [](const std::vector<std::string>& names) { return report::shared_name(names); };
  CHECK(name({"gca"}) == "gca");
  CHECK(name({"gca-1", "gca-2", "gca-3"}) == "gca-*");
  CHECK(name({"gca-11", "gca-12"}) == "gca-*");
  CHECK(name({"seed1/mini", "seed2/mini"}) == "seed*/mini");
  CHECK(name({"run", "run-2"}) == "run*");
  CHECK(name({"aa", "aaa"}) == "aa*");
  CHECK(name({"one", "two", "three"}) == "one +2");
  CHECK(name({"same", "same"}) == "same");
  CHECK(name({"caf\xC3\xA9", "caf\xC3\xA8"}) == "caf*");
}

TEST_CASE("A spread leaves out what is not known") {
  const report::Spread spread = report::spread_of({3.0, report::kUnknownNumber, 1.0, 8.0});
  CHECK(spread.mean == 4.0);
  CHECK(spread.low == 1.0);
  CHECK(spread.high == 8.0);
  CHECK(std::isnan(report::spread_of({report::kUnknownNumber}).mean));
  CHECK(std::isnan(report::spread_of({}).low));
}
