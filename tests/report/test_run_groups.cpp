#include "lib/report/run_groups.h"

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

std::vector<std::string> labels_of(const std::vector<report::RunGroup>& groups) {
  std::vector<std::string> labels;
  for (const report::RunGroup& group : groups) labels.push_back(group.label);
  return labels;
}

}  // namespace

TEST_CASE("Runs that differ in their seed alone stand together, in the order given") {
  const std::vector<report::RunResults> runs = {run_of("a", {{"batch", 1}, {"long_range", "none"}}, 1),
                                                run_of("b", {{"batch", 1}, {"long_range", "gca"}}, 1),
                                                run_of("c", {{"batch", 1}, {"long_range", "none"}}, 2)};
  const std::vector<report::RunGroup> groups = report::group_runs(runs);
  CHECK(labels_of(groups) == std::vector<std::string>{"long_range none", "long_range gca"});
  REQUIRE(groups.size() == 2);
  REQUIRE(groups[0].runs.size() == 2);
  CHECK(groups[0].runs[0]->name == "a");
  CHECK(groups[0].runs[1]->name == "c");
  CHECK(groups[1].runs[0]->name == "b");
}

TEST_CASE("A label names every setting that differs, one that a run lacks as null") {
  const std::vector<report::RunResults> runs = {run_of("a", {{"batch", 1}, {"factors", {1, 2}}}, 0),
                                                run_of("b", {{"batch", 2}}, 0)};
  CHECK(labels_of(report::group_runs(runs)) ==
        std::vector<std::string>{"batch 1, factors [1,2]", "batch 2, factors null"});
}

TEST_CASE("Where a run was made and how often it was looked at makes no group") {
  const std::vector<report::RunResults> runs = {
      run_of("a", {{"output", "a"}, {"eval_interval", 1}, {"checkpoint_minutes", 5}}, 0),
      run_of("b", {{"output", "b"}, {"eval_interval", 2}, {"checkpoint_minutes", 9}}, 0)};
  CHECK(labels_of(report::group_runs(runs)) == std::vector<std::string>{"all runs"});
  CHECK(labels_of(report::group_runs(std::span(runs).first(1))) == std::vector<std::string>{"a"});
  CHECK(report::group_runs({}).empty());
}

TEST_CASE("A spread leaves out what is not known") {
  const report::Spread spread = report::spread_of({3.0, report::kUnknownNumber, 1.0, 8.0});
  CHECK(spread.mean == 4.0);
  CHECK(spread.low == 1.0);
  CHECK(spread.high == 8.0);
  CHECK(std::isnan(report::spread_of({report::kUnknownNumber}).mean));
  CHECK(std::isnan(report::spread_of({}).low));
}
