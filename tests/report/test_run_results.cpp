#include "lib/report/run_results.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using nlohmann::json;

namespace {

json training_report(int seed) {
  const json last = {{"step", 7}, {"tokens", 70}, {"loss", 2.5}};
  return {{"schema", "gca.pretrain/1"},
          {"seed", seed},
          {"config", {{"batch", 4}}},
          {"result", {{"parameters", 1234}, {"tokens_per_second", nullptr}, {"valid", json::array({last})}}}};
}

json eval_report(const std::string& checkpoint, const json& result) {
  return {{"schema", "gca.eval/1"},
          {"seed", 3},
          {"config", {{"checkpoint", checkpoint}, {"model", {{"batch", 4}}}}},
          {"result", result}};
}

const json kContext = {{"context", 1024}, {"retriever", "none"}, {"trials", 9}, {"correct", 4}};
const json kDepth = {{"context", 1024}, {"retriever", "none"}, {"depth", 0.3}, {"trials", 2}, {"correct", 1}};
const json kPasskey = {
    {"task", "passkey"}, {"contexts", json::array({kContext})}, {"depths", json::array({kDepth})}};

void put(const std::string& path, const json& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_file_atomically(path, content.dump());
}

}  // namespace

TEST_CASE("A run's folder gives its metrics, its report and the evaluations beside it") {
  const TemporaryFolder folder;
  put(folder / "run/report.json", training_report(5));
  put(folder / "run/passkey.json", eval_report("elsewhere", kPasskey));
  write_file_atomically(folder / "run/metrics.jsonl",
                        R"({"step": 1, "tokens": 10, "loss": 4.0}
{"step": 2, "valid": {"step": 2, "tokens": 20, "loss": 3.5}}
not JSON
{"step": 3, "tokens": 30, "loss": null}
{"step": 4, "tok)");
  const std::vector<report::RunResults> runs = report::read_runs({folder / "run"});
  REQUIRE(runs.size() == 1);
  const report::RunResults& run = runs[0];
  CHECK(run.seed == 5);
  CHECK(run.settings == json{{"batch", 4}});
  CHECK(run.parameters == 1234);
  CHECK(std::isnan(run.tokens_per_second));
  REQUIRE(run.train.size() == 2);
  CHECK(run.train[0].tokens == 10);
  CHECK(std::isnan(run.train[1].loss));
  REQUIRE(run.valid.size() == 1);  // those of the metrics; the report repeats them
  CHECK(run.valid[0].loss == 3.5);
  REQUIRE(run.recalls.size() == 2);
  CHECK(run.recalls[0].task == "passkey");
  CHECK(run.recalls[0].retriever == "none");
  CHECK(run.recalls[0].correct == 4);
  CHECK(std::isnan(run.recalls[0].depth));
  CHECK(run.recalls[1].depth == 0.3);
}

TEST_CASE("An evaluation belongs to the run whose checkpoint it names, else it stands alone") {
  const TemporaryFolder folder;
  put(folder / "a/report.json", training_report(1));
  put(folder / "b/report.json", training_report(2));
  put(folder / "of-b.json", eval_report((folder / "b") + "/checkpoint", kPasskey));
  put(folder / "of-b-folder.json", eval_report(folder / "b/", kPasskey));
  put(folder / "alone.json", eval_report("elsewhere", kPasskey));
  const std::vector<report::RunResults> runs = report::read_runs(
      {folder / "of-b.json", folder / "a", folder / "b", folder / "of-b-folder.json", folder / "alone.json"});
  REQUIRE(runs.size() == 3);
  CHECK(runs[0].recalls.empty());
  CHECK(runs[1].recalls.size() == 4);
  CHECK(runs[2].name == folder / "alone.json");
  CHECK(runs[2].seed == 3);
}

TEST_CASE("A run that has not ended has the settings of its checkpoint") {
  const TemporaryFolder folder;
  put(folder / "run/checkpoint/trainer_state.json",
      {{"model_config", {{"hidden_size", 64}}}, {"train_config", {{"batch", 2}}}, {"seed", 11}});
  write_file_atomically(folder / "run/metrics.jsonl", "");
  const report::RunResults run = report::read_runs({folder / "run"}).front();
  CHECK(run.settings == json{{"hidden_size", 64}, {"batch", 2}});
  CHECK(run.seed == 11);
}

TEST_CASE("What is not a run is refused by name") {
  const TemporaryFolder folder;
  const auto refuses = [](const std::string& path) {
    const auto error = error_of([&] { report::read_runs({path}); });
    REQUIRE(error.has_value());
    CHECK(error->is_usage());
    CHECK(error->says(path));
  };
  refuses(folder / "nowhere");
  refuses(folder.path());
  put(folder / "chunk.json", {{"schema", "gca.chunk/1"}});
  refuses(folder / "chunk.json");
  json broken = training_report(1);
  broken["result"].erase("parameters");
  put(folder / "broken.json", broken);
  refuses(folder / "broken.json");
}
