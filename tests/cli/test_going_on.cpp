// Runs that go on after their end, with other settings, or from a kept checkpoint, as a user does it.

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "tests/cli/tiny_run.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

using nlohmann::json;

namespace {

/// Of every step in metrics.jsonl; the step as in the line, from 1.
std::map<int64_t, double> rates_of(const std::string& output) {
  std::ifstream metrics(output + "/metrics.jsonl");
  std::map<int64_t, double> rates;
  for (std::string line; std::getline(metrics, line);)
    if (const json entry = json::parse(line); entry.contains("learning_rate"))
      rates[entry["step"]] = entry["learning_rate"];
  return rates;
}

ProcessResult must_run(const std::vector<std::string>& words) {
  const ProcessResult result = run_gca(words);
  REQUIRE_MESSAGE(result.status == 0, result.err);
  return result;
}

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// With a validation loss at every step that --keep best can compare.
std::vector<std::string> looked_at(const std::string& output, const std::vector<std::string>& more) {
  return with(tiny_run(output, {"--set", "eval_interval=1", "--quiet"}), more);
}

json report_of(const std::string& output) {
  return json::parse(gca::read_file(output + "/report.json"));
}

}  // namespace

TEST_CASE(
    "A finished run that goes on tells the old and the new learning rate, and how to stay at the floor") {
  const TemporaryFolder folder;
  must_run(tiny_run(folder / "stretched", {"--steps", "12", "--quiet"}));
  std::filesystem::copy(folder / "stretched", folder / "stays", std::filesystem::copy_options::recursive);
  const std::vector<std::string> go_on = {"pretrain", "--resume", "--steps", "24", "--threads", "1"};

  const ProcessResult stretched = must_run(with(go_on, {"--output", folder / "stretched"}));
  const auto rates = rates_of(folder / "stretched");
  REQUIRE(rates.size() == 24);
  CHECK(rates.at(13) > 2 * rates.at(12));
  std::smatch told;
  const std::regex pattern("learning rate goes from ([0-9.e-]+) at step 12 to ([0-9.e-]+) at step 13");
  REQUIRE_MESSAGE(std::regex_search(stretched.err, told, pattern), stretched.err);
  CHECK(std::stod(told[1]) == doctest::Approx(rates.at(12)).epsilon(1e-3));
  CHECK(std::stod(told[2]) == doctest::Approx(rates.at(13)).epsilon(1e-3));
  CHECK(stretched.err.find("--change schedule_steps=12") != std::string::npos);
  const json report = report_of(folder / "stretched");
  CHECK(problems_of("pretrain", report) == "");
  REQUIRE(report["result"]["changes"].size() == 1);
  CHECK(report["result"]["changes"][0]["setting"] == "steps");
  CHECK(report["result"]["changes"][0]["from"] == 12);
  CHECK(report["result"]["changes"][0]["learning_rate_after"] == rates.at(13));

  must_run(with(go_on, {"--output", folder / "stays", "--change", "schedule_steps=12"}));
  const auto staying = rates_of(folder / "stays");
  const double floor = report["config"]["min_learning_rate"];
  for (int64_t step = 13; step <= 24; ++step) CHECK(staying.at(step) == floor);
  for (int64_t step = 1; step <= 12; ++step) CHECK(staying.at(step) == rates.at(step));

  // A dry run tells it as well, and a run that goes on as planned says nothing.
  const ProcessResult dry = must_run({"pretrain", "--resume", "--steps", "30", "--threads", "1", "--output",
                                      folder / "stays", "--dry-run", "--change", "schedule_steps=0"});
  CHECK(dry.err.find("learning rate goes from") != std::string::npos);
  must_run(tiny_run(folder / "halved", {"--steps", "6", "--stop-at", "3", "--quiet"}));
  const ProcessResult as_planned =
      must_run({"pretrain", "--resume", "--threads", "1", "--output", folder / "halved"});
  CHECK(as_planned.err.find("learning rate") == std::string::npos);
  CHECK(!report_of(folder / "halved")["result"].contains("changes"));
}

TEST_CASE("The advice that a run which became NaN prints can be followed as it is printed") {
  const TemporaryFolder folder;
  const ProcessResult broken = run_gca(
      tiny_run(folder / "run", {"--steps", "40", "--set", "learning_rate=1e9", "--set", "gradient_clip=0"}));
  REQUIRE(broken.status == 1);
  std::filesystem::copy(folder / "run", folder / "works", std::filesystem::copy_options::recursive);
  std::smatch advice;
  REQUIRE_MESSAGE(std::regex_search(broken.err, advice, std::regex("--resume( --change [a-z_]+=\\S+)+")),
                  broken.err);
  std::vector<std::string> words = {"pretrain",  "--output", folder / "run", "--threads", "1",
                                    "--stop-at", "1"};
  std::istringstream parts(advice.str());
  for (std::string word; parts >> word;) words.push_back(word);
  const ProcessResult followed = run_gca(words);
  CHECK_MESSAGE(followed.status == 0, followed.err);
  CHECK(saved_step(folder / "run") == 1);
  CHECK(followed.err.find("learning_rate is 500000000.0 from here on, 1000000000.0 before") !=
        std::string::npos);

  // And with a rate that works, to the end; what was changed stands in the report.
  must_run(resumed(folder / "works",
                   {"--steps", "3", "--change", "learning_rate=0.001", "--change", "gradient_clip=1"}));
  const json report = report_of(folder / "works");
  CHECK(problems_of("pretrain", report) == "");
  CHECK(report["config"]["learning_rate"] == 0.001);
  CHECK(report["config"]["gradient_clip"] == 1.0);
  std::map<std::string, json> changes;
  for (const json& change : report["result"]["changes"]) changes[change["setting"]] = change;
  REQUIRE(changes.size() == 3);
  CHECK(changes.at("steps")["to"] == 3);
  CHECK(changes.at("learning_rate")["from"] == 1e9);
  CHECK(changes.at("learning_rate")["to"] == 0.001);
  CHECK(changes.at("gradient_clip")["to"] == 1);

  // Repeating it from its report is no repetition, which is told.
  const ProcessResult again = must_run({"pretrain", "--config", folder / "works/report.json", "--output",
                                        folder / "again", "--threads", "1", "--quiet"});
  CHECK(again.err.find("will not repeat it") != std::string::npos);
}

TEST_CASE("A change of settings is the same bits for a run that began with them") {
  const TemporaryFolder folder;
  const std::vector<std::string> settings = {"--set", "schedule=constant", "--set", "weight_decay=0.1"};
  must_run(tiny_run(folder / "straight", with(settings, {"--steps", "3", "--quiet"})));
  must_run(tiny_run(folder / "changed", {"--steps", "0", "--quiet"}));
  must_run(resumed(folder / "changed",
                   {"--steps", "3", "--change", "schedule=constant", "--change", "weight_decay=0.1"}));
  CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / "changed"));
}

TEST_CASE("A decay branches from a kept checkpoint, to the bits of a run that was planned so") {
  const TemporaryFolder folder;
  const std::vector<std::string> wsd = {"--set", "schedule=wsd",   "--set", "decay_steps=2",
                                        "--set", "warmup_steps=2", "--set", "checkpoint_interval=2"};
  must_run(tiny_run(folder / "trunk", with(wsd, {"--steps", "12", "--keep", "4", "--quiet"})));
  for (const char* name : {"kept/step-6", "kept/step-8", "kept/step-10", "kept/step-12"})
    CHECK_MESSAGE(std::filesystem::exists(folder / ("trunk/" + std::string(name))), name);
  CHECK(!std::filesystem::exists(folder / "trunk/kept/step-4"));

  const ProcessResult branch = must_run({"pretrain", "--branch", folder / "trunk/kept/step-6", "--steps", "8",
                                         "--output", folder / "branch", "--threads", "1"});
  CHECK(branch.err.find("wsd schedule now has 8 steps, not 12") != std::string::npos);
  must_run(tiny_run(folder / "planned", with(wsd, {"--steps", "8", "--quiet"})));
  CHECK(checkpoint_bytes(folder / "branch") == checkpoint_bytes(folder / "planned"));
  const auto rates = rates_of(folder / "branch");
  CHECK(rates.size() == 2);  // the branch's own
  CHECK(rates.at(8) < rates.at(7));
  CHECK(saved_step(folder / "trunk") == 12);
  const json report = report_of(folder / "branch");
  CHECK(problems_of("pretrain", report) == "");
  CHECK(report["config"]["branch"] == folder / "trunk/kept/step-6");

  const auto refuses = [&](const std::vector<std::string>& words, const std::string& says) {
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(says) != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  };
  const std::string from = folder / "trunk/kept/step-6";
  refuses({"pretrain", "--branch", from, "--output", folder / "trunk"}, "--overwrite");
  refuses({"pretrain", "--branch", from, "--steps", "3", "--output", folder / "x"}, "already at step 6");
  refuses({"pretrain", "--branch", from, "--set", "batch=3", "--output", folder / "x"}, "batch");
  refuses({"pretrain", "--branch", folder / "nowhere", "--output", folder / "x"}, "does not exist");
  refuses({"pretrain", "--config", folder / "branch/report.json", "--output", folder / "x"}, "--branch");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--change", "learning_rate=1"}), "--change");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--set", "schedule=linear"}), "schedule");
  CHECK(!std::filesystem::exists(folder / "x"));
}

TEST_CASE("--keep best keeps the weights of the lowest validation loss, also over a resume") {
  const TemporaryFolder folder;
  const std::vector<std::string> best_kept = {"--steps", "10", "--keep", "best"};
  must_run(looked_at(folder / "run", with(best_kept, {"--stop-at", "4"})));
  // From here on it gets worse.
  must_run(resumed(folder / "run", {"--change", "learning_rate=1", "--change", "schedule=constant"}));
  const json report = report_of(folder / "run");
  CHECK(problems_of("pretrain", report) == "");
  int64_t best_step = -1;
  double best = 1e9;
  for (const json& valid : report["result"]["valid"])
    if (valid["loss"] < best) best = valid["loss"], best_step = valid["step"];
  REQUIRE((best_step > 0 && best_step <= 4));
  REQUIRE(report["result"]["kept"].size() == 1);
  CHECK(report["result"]["kept"][0]["step"] == best_step);
  CHECK(report["result"]["kept"][0]["valid_loss"] == best);

  // The weights are those of a run that ended there.
  must_run(looked_at(folder / "short", with(best_kept, {"--stop-at", std::to_string(best_step)})));
  CHECK(gca::read_file(folder / "run/kept/best/model.safetensors") ==
        gca::read_file(folder / "short/checkpoint/model.safetensors"));
  must_run({"pretrain", "--task", "self-copy", "--init", folder / "run/kept/best", "--steps", "0", "--quiet",
            "--output", folder / "init"});

  // A new run in the same folder has nothing of the old one.
  must_run(looked_at(folder / "run", {"--steps", "1", "--overwrite", "--keep", "1"}));
  CHECK(!std::filesystem::exists(folder / "run/kept/best"));
  CHECK(report_of(folder / "run")["result"]["kept"].size() == 1);
  CHECK(run_gca(looked_at(folder / "x", {"--steps", "1", "--keep", "bset"})).status == 2);
}
