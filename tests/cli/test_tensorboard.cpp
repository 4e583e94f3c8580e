// Event files, opened by TensorBoard's own reader.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "tests/cli/tiny_run.h"
#include "tests/support/run_gca.h"

using nlohmann::json;

TEST_CASE("TensorBoard reads what metrics.jsonl tells, once, also after a crash and a resume") {
  const TemporaryFolder folder;
  const std::string run = folder / "run";
  const std::vector<std::string> flags = {"--steps",         "8",       "--set",
                                          "eval_interval=2", "--quiet", "--tensorboard"};
  REQUIRE(run_gca(tiny_run(run, flags)).status == 0);
  // As if the run had been killed after step 8, with its last checkpoint at step 3.
  std::vector<std::string> stopped = flags;
  stopped.insert(stopped.end(), {"--stop-at", "3"});
  REQUIRE(run_gca(tiny_run(folder / "stopped", stopped)).status == 0);
  std::filesystem::remove_all(run + "/checkpoint");
  std::filesystem::rename(folder / "stopped/checkpoint", run + "/checkpoint");
  REQUIRE(run_gca(resumed(run, {"--tensorboard"})).status == 0);

  gca::write_file_atomically(
      folder / "scalars.py",
      "import json, sys\n"
      "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
      "events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})\n"
      "events.Reload()\n"
      "tags = events.Tags()['scalars']\n"
      "print(json.dumps({t: [[e.step, e.value] for e in events.Scalars(t)] for t in tags}))\n");
  const ProcessResult read =
      run_program({"sh", "-c", std::string(GCA_PYTHON) + " " + (folder / "scalars.py") + " " + run});
  REQUIRE_MESSAGE(read.status == 0, read.err);
  const json scalars = read.json();

  std::map<std::string, std::map<int64_t, double>> expected;
  std::ifstream metrics(run + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const json entry = json::parse(line);
    const int64_t step = entry["step"];
    if (entry.contains("valid")) {
      expected["valid/loss"][step] = entry["valid"]["loss"];
    } else {
      for (const char* key : {"loss", "learning_rate", "gradient_norm"})
        expected[std::string("train/") + key][step] = entry[key];
    }
  }
  REQUIRE(expected["train/loss"].size() == 8);
  REQUIRE(expected["valid/loss"].size() == 5);
  for (const auto& pair : expected) {
    const auto& tag = pair.first;
    const auto& values = pair.second;
    CAPTURE(tag);
    REQUIRE(scalars.contains(tag));
    CHECK(scalars[tag].size() == values.size());
    for (const json& event : scalars[tag])
      CHECK(event[1].get<double>() ==
            static_cast<double>(static_cast<float>(values.at(event[0].get<int64_t>()))));
  }
}
