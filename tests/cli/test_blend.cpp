// Data sets mixed by weight, and how often they are read.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/cli/tiny_run.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

using nlohmann::json;

namespace {

/// Three texts of different kinds as sequences with one tokenizer.
class Corpora {
 public:
  Corpora() {
    const char* const lines[] = {"the sheep jumped over the fence and was counted", "if (i == 0) return;",
                                 "12:00:07 WARN retrying"};
    const int counts[] = {900, 700, 300};
    for (int k = 0; k < 3; ++k) {
      std::ofstream file(folder_ / (std::string(kNames[k]) + ".txt"));
      for (int i = 0; i < counts[k]; ++i) {
        file << i << " " << lines[k] << "\n";
        if (i % 100 == 99) file << "\n";
      }
    }
    must_run(
        {"tokenize", folder_ / "books.txt", "--train-vocab", "300", "--output", folder_ / "books-tokens"});
    for (const char* name : {"code", "logs"})
      must_run({"tokenize", folder_ / (std::string(name) + ".txt"), "--tokenizer",
                folder_ / "books-tokens/tokenizer.model", "--output",
                folder_ / (std::string(name) + "-tokens")});
    for (const char* name : kNames)
      must_run({"chunk", "--tokens", folder_ / (std::string(name) + "-tokens"), "--output", folder_ / name,
                "--chunk-size", "16", "--context", "60"});
  }

  static json must_run(const std::vector<std::string>& words) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--json", "--threads", "1"});
    const ProcessResult result = run_gca(all);
    REQUIRE_MESSAGE(result.status == 0, result.err);
    return result.json();
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }

  std::vector<std::string> run(const std::string& output, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"pretrain", "--config", "nano",          "--batch",
                                      "4",        "--output", folder_ / output};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

 private:
  static constexpr const char* kNames[] = {"books", "code", "logs"};
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("--data A:6 --data B:3 --data C:1: shares of the tokens, and the same bits after a stop") {
  const Corpora corpora;
  const std::vector<std::string> mixed = {
      "--data", (corpora / "books") + ":6", "--data",  (corpora / "code") + ":3",
      "--data", (corpora / "logs") + ":1",  "--steps", "50"};
  const json straight = Corpora::must_run(corpora.run("straight", mixed));
  CHECK(problems_of("pretrain", straight) == "");
  const json& uses = straight["result"]["data"];
  REQUIRE(uses.size() == 3);
  const double shares[] = {0.6, 0.3, 0.1};
  double tokens[3], total = 0;
  for (size_t i = 0; i < 3; ++i) {
    CHECK(uses[i]["share"].get<double>() == doctest::Approx(shares[i]));
    tokens[i] = uses[i]["passes"].get<double>() * uses[i]["tokens"].get<double>();
    total += tokens[i];
  }
  CHECK(total == doctest::Approx(straight["result"]["tokens"].get<double>()).epsilon(0.02));
  for (size_t i = 0; i < 3; ++i) CHECK(tokens[i] / total == doctest::Approx(shares[i]).epsilon(0.05));
  CHECK(straight["config"]["data"].size() == 3);

  std::vector<std::string> stopped = mixed;
  stopped.insert(stopped.end(), {"--stop-at", "13"});
  Corpora::must_run(corpora.run("halved", stopped));
  const json rest = Corpora::must_run({"pretrain", "--resume", "--output", corpora / "halved"});
  CHECK(checkpoint_bytes(corpora / "straight") == checkpoint_bytes(corpora / "halved"));
  CHECK(rest["result"]["data"] == uses);

  Corpora::must_run(
      {"pretrain", "--config", corpora / "straight/report.json", "--output", corpora / "again"});
  CHECK(checkpoint_bytes(corpora / "straight") == checkpoint_bytes(corpora / "again"));

  // Other weights, or one data set less, are other data.
  for (const std::vector<std::string>& other :
       {std::vector<std::string>{"--data", (corpora / "books") + ":6", "--data", (corpora / "code") + ":2",
                                 "--data", (corpora / "logs") + ":1"},
        {"--data", corpora / "books"}}) {
    std::vector<std::string> words = {"pretrain", "--resume", "--steps",
                                      "60",       "--output", corpora / "halved"};
    words.insert(words.end(), other.begin(), other.end());
    const ProcessResult refused = run_gca(words);
    CHECK(refused.status == 2);
    CHECK(refused.err.find("--data " + (corpora / "books") + ":6 --data " + (corpora / "code") + ":3") !=
          std::string::npos);
  }
}

TEST_CASE("One data set with a weight is that data set, and a folder with a colon is a folder") {
  const Corpora corpora;
  Corpora::must_run(corpora.run("plain", {"--data", corpora / "books", "--steps", "2"}));
  Corpora::must_run(corpora.run("weighted", {"--data", (corpora / "books") + ":7", "--steps", "2"}));
  CHECK(checkpoint_bytes(corpora / "plain") == checkpoint_bytes(corpora / "weighted"));
  std::filesystem::create_directory_symlink(corpora / "books", corpora / "books:3");
  Corpora::must_run(corpora.run("colon", {"--data", corpora / "books:3", "--steps", "2"}));
  CHECK(checkpoint_bytes(corpora / "plain") == checkpoint_bytes(corpora / "colon"));
}

TEST_CASE("Passes over the data are told before, during and after a run, and by a dry run") {
  const Corpora corpora;
  const std::vector<std::string> words = {"--data", corpora / "logs", "--steps", "40"};
  const json dry =
      Corpora::must_run(corpora.run("run", {"--data", corpora / "logs", "--steps", "40", "--dry-run"}));
  CHECK(problems_of("pretrain-dry-run", dry) == "");
  const ProcessResult run = run_gca(corpora.run("run", words));
  REQUIRE_MESSAGE(run.status == 0, run.err);
  const json report = json::parse(gca::read_file(corpora / "run/report.json"));
  const json& use = report["result"]["data"][0];
  // 160 sequences of which `sequences` are one pass.
  CHECK(use["passes"].get<double>() == doctest::Approx(160.0 / use["sequences"].get<double>()));
  CHECK(use["passes"] > 1);
  CHECK(dry["result"]["data"] == report["result"]["data"]);
  std::ostringstream passes;
  passes.precision(2);
  passes << std::fixed << use["passes"].get<double>();
  CHECK(run.err.find(passes.str() + " passes are planned") != std::string::npos);
  CHECK(run.out.find("passes              " + passes.str() + " over ") != std::string::npos);
  const ProcessResult no_length = run_gca(corpora.run("x", {"--data", corpora / "logs", "--dry-run"}));
  CHECK(no_length.status == 0);
  CHECK(no_length.out.find("data ") != std::string::npos);

  // Phases: the passes of their text tasks together.
  gca::write_file_atomically(corpora / "phases.json", R"({"phases": [
    {"name": "a", "steps": 3, "tasks": [{"task": "text", "context": 60}, {"task": "self-copy", "batch": 2}]},
    {"name": "b", "steps": 2, "tasks": [{"task": "text", "context": 60, "batch": 6}]}]})");
  const json phases = Corpora::must_run(
      corpora.run("phases", {"--data", corpora / "logs", "--phases", corpora / "phases.json"}));
  CHECK(problems_of("pretrain", phases) == "");
  CHECK(phases["result"]["data"][0]["passes"].get<double>() ==
        doctest::Approx((2 * 4 + 2 * 6) / use["sequences"].get<double>()));
  CHECK(!run_gca(tiny_run(corpora / "copy", {"--steps", "0", "--json"})).json()["result"].contains("data"));
}

TEST_CASE("Data sets that do not go together are refused by name") {
  const Corpora corpora;
  const auto refuses = [&](const std::vector<std::string>& more, const std::string& says) {
    const ProcessResult result = run_gca(corpora.run("x", more));
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(says) != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(!std::filesystem::exists(corpora / "x"));
  };
  const std::string books = corpora / "books";
  Corpora::must_run({"chunk", "--tokens", corpora / "code-tokens", "--output", corpora / "longer",
                     "--chunk-size", "16", "--context", "90"});
  Corpora::must_run(
      {"tokenize", corpora / "code.txt", "--train-vocab", "290", "--output", corpora / "other"});
  refuses({"--steps", "1", "--data", books, "--data", corpora / "longer"}, "run gca chunk with --context 60");
  refuses({"--steps", "1", "--data", books, "--data", corpora / "other"}, "another tokenizer");
  refuses({"--steps", "1", "--data", books, "--data", (corpora / "code") + ":0"}, "above 0");
  refuses({"--steps", "1", "--data", books, "--data", (corpora / "code") + ":-1"}, "above 0");
  refuses({"--steps", "1", "--data", books, "--data", (corpora / "nowhere") + ":2"}, "nowhere");
  refuses({"--steps", "1", "--data", books, "--data", corpora / "code", "--task", "passkey", "--set",
           "context=200"},
          "several data sets");
}
