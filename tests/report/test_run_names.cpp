#include "lib/report/runs/run_names.h"

#include <doctest/doctest.h>

#include "tests/support/error_of.h"

using namespace gca;
using Words = std::vector<std::string>;

namespace {

Words names_of(const Words& paths, const Words& labels = {}) {
  std::vector<report::RunResults> runs;
  for (const std::string& path : paths) runs.emplace_back().path = path;
  report::name_runs(runs, labels);
  Words names;
  for (const report::RunResults& run : runs) names.push_back(run.name);
  return names;
}

void refuses(const Words& paths, const Words& labels) {
  const auto error = error_of([&] { names_of(paths, labels); });
  REQUIRE(error.has_value());
  CHECK(error->is_usage());
  CHECK(error->says("--label"));
}

}  // namespace

TEST_CASE("A path is called by its last part, with as many folders above as tell equal ones apart") {
  CHECK(report::distinct_names({"out/a", "out/b/", "c"}) == Words{"a", "b", "c"});
  CHECK(report::distinct_names({"out/x/run", "out/y/run", "z"}) == Words{"x/run", "y/run", "z"});
  CHECK(report::distinct_names({"1/a/run", "2/a/run", "2/b/run"}) == Words{"1/a/run", "2/a/run", "b/run"});
  CHECK(report::distinct_names({"run", "deep/run"}) == Words{"run", "deep/run"});
  CHECK(report::distinct_names({"a/run", "a/run", "b/run"}) == Words{"a/run", "a/run", "b/run"});
  CHECK(report::distinct_names({"/", ".", ""}).size() == 3);
  CHECK(report::distinct_names({}).empty());
}

TEST_CASE("A report is called by its file, or by its folder where the file's name says nothing") {
  CHECK(names_of({"x/eval-8k.json", "x/report.json", "y/report.json"}) == Words{"eval-8k", "x", "y"});
  CHECK(names_of({"x/a.json", "x/a"}) == Words{"a", "a (2)"});
  CHECK(names_of({"x/lr0.1.json", "x/lr0.2"}) == Words{"lr0.1", "lr0.2"});
}

TEST_CASE("What would command a terminal is escaped") {
  CHECK(names_of({"x/\x1b[31mred\n"}) == Words{"\\x1b[31mred\\n"});
}

TEST_CASE("Labels are one for each run in their order, or of those that are named") {
  const Words paths = {"x/run", "y/run", "lr=0.1"};
  CHECK(names_of(paths, {"A", "B", "C"}) == Words{"A", "B", "C"});
  CHECK(names_of(paths, {"y/run=B"}) == Words{"x/run", "B", "lr=0.1"});
  CHECK(names_of(paths, {"lr=0.1=slow", "x/run=a=b"}) == Words{"a=b", "y/run", "slow"});
  CHECK(names_of(paths, {"K=8", "K=16", "K=32"}) == Words{"K=8", "K=16", "K=32"});  // names no run
  CHECK(names_of(paths, {"same", "same", "other"}) == Words{"same", "same (2)", "other"});
  refuses(paths, {"A"});
  refuses(paths, {"A", "B", "C", "D"});
  refuses(paths, {"nobody=A"});
  refuses(paths, {"A", "B", "y/run=C"});
  refuses(paths, {"A", "", "C"});
  refuses(paths, {"y/run="});
}
