#include "lib/report/runs/read_runs.h"

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
  CHECK(run.name == "run");
  CHECK(run.has_ended);
  CHECK(run.settings["batch"] == 4);
  CHECK(run.parameters == 1234);
  CHECK(std::isnan(run.tokens_per_second));
  REQUIRE(run.train.size() == 2);
  CHECK(run.train[0].tokens == 10);
  CHECK(std::isnan(run.train[1].loss));
  REQUIRE(run.valid.size() == 2);  // that of the metrics, and what only the report has (of a branch's trunk)
  CHECK(run.valid[0].loss == 3.5);
  CHECK(run.valid[1].loss == 2.5);
  REQUIRE(run.recalls.size() == 2);
  CHECK(run.recalls[0].task == "passkey");
  CHECK(run.recalls[0].retriever == "none");
  CHECK(run.recalls[0].correct == 4);
  CHECK(std::isnan(run.recalls[0].depth));
  CHECK(run.recalls[1].depth == 0.3);
}

TEST_CASE(
    "A validation has what reading lost with each choice, a step what its groups measured, both their time") {
  const TemporaryFolder folder;
  put(folder / "run/report.json", training_report(5));
  write_file_atomically(
      folder / "run/metrics.jsonl",
      R"({"step": 0, "valid": {"step": 0, "tokens": 0, "loss": 9.0, "bits_per_byte": 4.0, "task": "text"}}
{"step": 1, "tokens": 100, "loss": 4.0, "tokens_per_second": 50, "retrieval": [{"spread": 1, "entropy": 2, "mean_distance": 30}, {"spread": 2, "entropy": 1, "mean_distance": 50}]}
{"step": 2, "tokens": 300, "loss": 3.0, "tokens_per_second": 40}
{"step": 2, "changes": []}
{"step": 2, "valid": {"step": 2, "tokens": 300, "loss": 3.5, "bits_per_byte": null, "task": "recall", "accuracy": 0.5}}
{"step": 2, "valid": {"step": 2, "tokens": 300, "loss": 3.25, "bits_per_byte": 1.5, "task": "text", "reading": {"learned": 3.0, "random": 3.5, "none": 4.0, "spread": 0.75, "sequences": 4}}}
{"step": 3, "tokens": 400, "loss": 2.0, "tokens_per_second": 100})");
  const report::RunResults run = report::read_runs({folder / "run"}).front();
  REQUIRE(run.train.size() == 3);
  CHECK(run.train[0].spread == 1.5);
  CHECK(run.train[0].entropy == 1.5);
  CHECK(run.train[0].mean_distance == 40);
  CHECK(std::isnan(run.train[1].spread));
  CHECK(run.train[0].seconds == 2.0);
  CHECK(run.train[2].seconds == 2.0 + 5.0 + 1.0);
  REQUIRE(run.valid.size() == 4);  // and that of the report, at step 7
  CHECK(run.valid[0].seconds == 0.0);
  CHECK(run.valid[1].accuracy == 0.5);
  CHECK(run.valid[2].seconds == 7.0);
  CHECK(run.valid[2].reading.of_reading() == 1.0);
  CHECK(run.valid[2].reading.of_choice() == 0.5);
  CHECK(run.valid[2].reading.spread == 0.75);
  CHECK(std::isnan(run.valid[0].reading.learned));
  CHECK(report::last_validation(run)->step == 7);
}

TEST_CASE("The last validation is that of text, or of the only task") {
  report::RunResults run;
  CHECK(report::last_validation(run) == nullptr);
  run.valid = {{.step = 3, .loss = 5.0}};
  CHECK(report::last_validation(run)->loss == 5.0);
  run.valid.push_back({.step = 6, .loss = 4.0, .task = "text"});
  run.valid.push_back({.step = 6, .loss = 1.0, .task = "recall"});
  CHECK(report::last_validation(run)->loss == 4.0);
  run.valid.push_back({.step = 9, .loss = 1.0, .task = "recall"});
  run.valid.push_back({.step = 9, .loss = 2.0, .task = "passkey"});
  CHECK(report::last_validation(run) == nullptr);
}

TEST_CASE("An evaluation belongs to the run whose checkpoint it names, else it stands alone, in its place") {
  const TemporaryFolder folder;
  put(folder / "a/report.json", training_report(1));
  put(folder / "b/report.json", training_report(2));
  put(folder / "of-b.json", eval_report((folder / "b") + "/checkpoint", kPasskey));
  put(folder / "of-b-folder.json", eval_report(folder / "b/", kPasskey));
  put(folder / "alone.json", eval_report("elsewhere", kPasskey));
  const std::vector<report::RunResults> runs = report::read_runs(
      {folder / "of-b.json", folder / "alone.json", folder / "a", folder / "b", folder / "of-b-folder.json"});
  REQUIRE(runs.size() == 3);
  CHECK(runs[0].name == "alone");
  CHECK(runs[0].kind == report::RunKind::evaluation);
  CHECK(runs[0].seed == 3);
  CHECK(runs[0].settings["checkpoint"] == "elsewhere");
  CHECK(runs[1].recalls.empty());
  CHECK(runs[2].name == "b");
  CHECK(runs[2].recalls.size() == 4);
}

TEST_CASE("A model without chunk memory was measured as it is, not with nothing read") {
  const TemporaryFolder folder;
  const auto retriever_of = [&](const char* long_range, const char* retriever) {
    json report = eval_report("elsewhere", kPasskey);
    report["config"]["model"]["long_range"] = long_range;
    report["result"]["depths"][0]["retriever"] = retriever;
    put(folder / "eval.json", report);
    return report::read_runs({folder / "eval.json"}).front().recalls[0].retriever;
  };
  CHECK(retriever_of("none", "none").empty());
  CHECK(retriever_of("gca", "none") == "none");
  CHECK(retriever_of("other", "learned") == "none");  // it has a choice as well
}

TEST_CASE("A run is read once, whatever of it is named") {
  const TemporaryFolder folder;
  put(folder / "run/report.json", training_report(1));
  write_file_atomically(folder / "run/metrics.jsonl", "");
  put(folder / "run/checkpoint/trainer_state.json", json::object());
  for (const std::string name : {"run", "run/", "run/report.json", "run/metrics.jsonl", "run/checkpoint",
                                 "run/checkpoint/", "run/../run"}) {
    CAPTURE(name);
    const std::vector<report::RunResults> runs = report::read_runs({folder / "run", folder / name});
    REQUIRE(runs.size() == 1);
    CHECK(runs[0].name == "run");
    CHECK(report::read_runs({folder / name}).front().seed == 1);
  }
}

TEST_CASE("A run that has not ended has the settings and validations of its checkpoint") {
  const TemporaryFolder folder;
  put(folder / "run/checkpoint/trainer_state.json",
      {{"model_config", {{"hidden_size", 64}}},
       {"train_config", {{"batch", 2}}},
       {"seed", 11},
       {"step", 5},
       {"tokens", 50},
       {"total_steps", 20},
       {"task", "text"},
       {"data", {"a:6", "b:3"}},
       {"valid", json::array({{{"step", 0}, {"tokens", 0}, {"loss", 8.0}}})}});
  write_file_atomically(folder / "run/metrics.jsonl", R"({"step": 7, "tokens": 70, "loss": 4.0})");
  const report::RunResults run = report::read_runs({folder / "run"}).front();
  CHECK_FALSE(run.has_ended);
  CHECK(run.settings["hidden_size"] == 64);
  CHECK(run.settings["batch"] == 2);
  CHECK(run.settings["data"] == json{"a:6", "b:3"});
  CHECK(run.settings["length"] == "20 steps");
  CHECK(run.planned_steps == 20);
  CHECK(run.seed == 11);
  CHECK(run.steps == 7);  // the metrics are ahead of the checkpoint
  CHECK(run.tokens == 70);
  REQUIRE(run.valid.size() == 1);
  CHECK(run.valid[0].loss == 8.0);
}

TEST_CASE("A run that has just begun has no numbers, and a folder's other files are no reports") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run");
  write_file_atomically(folder / "run/metrics.jsonl", "");
  write_file_atomically(folder / "run/notes.json", "[1, 2]");
  write_file_atomically(folder / "run/torn.json", "{\"schema");
  const report::RunResults run = report::read_runs({folder / "run"}).front();
  CHECK_FALSE(run.has_ended);
  CHECK(run.valid.empty());
  CHECK(run.settings.empty());
}

TEST_CASE("How long a run was to be is a setting: its steps, or the minutes that were asked for") {
  const TemporaryFolder folder;
  json report = training_report(1);
  report["result"]["planned_steps"] = 300;
  report["config"]["phases"] = {{"phases", json::array()}};
  report["command"] = {"gca", "pretrain", "--phases", "plans/short.json"};
  put(folder / "a/report.json", report);
  report["command"] = {"gca", "pretrain", "--minutes=15"};
  put(folder / "b/report.json", report);
  const std::vector<report::RunResults> runs = report::read_runs({folder / "a", folder / "b"});
  CHECK(runs[0].settings["length"] == "300 steps");
  CHECK(runs[0].plan_file == "short.json");
  CHECK(runs[1].settings["length"] == "15 minutes");
  CHECK_FALSE(runs[1].settings.contains("phases"));  // the start-up is as long as the machine was fast
}

TEST_CASE("A benchmark has speeds by mode and context") {
  const TemporaryFolder folder;
  const json row = {{"mode", "decoding"}, {"context", 4096}, {"tokens_per_second", 12.5}};
  put(folder / "bench.json", {{"schema", "gca.bench/1"},
                              {"seed", 0},
                              {"config", {{"hidden_size", 64}}},
                              {"result", {{"parameters", 99}, {"rows", json::array({row})}}}});
  const report::RunResults run = report::read_runs({folder / "bench.json"}).front();
  CHECK(run.kind == report::RunKind::benchmark);
  CHECK(run.name == "bench");
  CHECK(run.parameters == 99);
  REQUIRE(run.speeds.size() == 1);
  CHECK(run.speeds[0].mode == "decoding");
  CHECK(run.speeds[0].context == 4096);
  CHECK(run.speeds[0].tokens_per_second == 12.5);
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
