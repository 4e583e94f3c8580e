// Text training that begins with start-up weights, as a user runs it.

#include <doctest/doctest.h>

#include <filesystem>

#include "tests/cli/tiny_run.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"
#include "tests/support/write_file.h"

using nlohmann::json;

namespace {

/// A short text as token shards.
struct TextTokens {
  TemporaryFolder folder;

  TextTokens() {
    std::string text;
    for (int i = 0; i < 1500; ++i)
      text += "the " + std::to_string(i * i) + "th sheep jumped over the fence and was counted\n";
    gca::testing::write_file(folder / "a.txt", text);
    const ProcessResult result = run_gca(
        {"tokenize", folder / "a.txt", "--train-vocab", "300", "--output", folder / "tokens", "--quiet"});
    REQUIRE_MESSAGE(result.status == 0, result.err);
  }

  /// gca pretrain of `mini` on short sequences.
  std::vector<std::string> run(const std::string& output, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"pretrain",
                                      "--data",
                                      folder / "tokens",
                                      "--config",
                                      "mini",
                                      "--set",
                                      "context=310",
                                      "--set",
                                      "eval_sequences=1",
                                      "--valid",
                                      folder / "tokens",
                                      "--output",
                                      output,
                                      "--threads",
                                      "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

std::string weights_of(const std::string& run) {
  return gca::read_file(run + "/checkpoint/model.safetensors");
}

}  // namespace

TEST_CASE(
    "a preset's start-up: a curriculum in the report, stopped and resumed to the same bits, repeated from "
    "the report") {
  const TextTokens text;
  const std::string whole = text.folder / "whole", parts = text.folder / "parts",
                    again = text.folder / "again";
  const ProcessResult result = run_gca(text.run(whole, {"--steps", "20", "--json"}));
  REQUIRE_MESSAGE(result.status == 0, result.err);
  const json report = result.json();
  CHECK(problems_of("pretrain", report) == "");
  CHECK(report["config"]["start_up"] == "shipped");
  CHECK(report["config"]["phases"]["phases"].size() == 5);
  CHECK(report["result"]["steps"] == 20);

  for (const auto& more : {std::vector<std::string>{"--steps", "20", "--stop-at", "7", "--quiet"}})
    REQUIRE(run_gca(text.run(parts, more)).status == 0);
  REQUIRE(run_gca({"pretrain", "--resume", "--output", parts, "--threads", "1", "--quiet"}).status == 0);
  CHECK(weights_of(parts) == weights_of(whole));

  const ProcessResult repeated = run_gca(
      {"pretrain", "--config", whole + "/report.json", "--output", again, "--threads", "1", "--quiet"});
  REQUIRE_MESSAGE(repeated.status == 0, repeated.err);
  CHECK(weights_of(again) == weights_of(whole));

  // A checkpoint of the same sizes serves as well, and its layers are what training begins with.
  const std::string given = text.folder / "given";
  REQUIRE(run_gca(text.run(given, {"--start-up", whole, "--steps", "0", "--quiet"})).status == 0);
  CHECK(weights_of(given) != weights_of(whole));  // another embedding
  CHECK(weights_of(given).size() == weights_of(whole).size());
}

TEST_CASE("a run that trains its start-up: planned within its length, resumed to the same bits") {
  const TextTokens text;
  const std::string whole = text.folder / "whole", parts = text.folder / "parts";
  const std::vector<std::string> train = {"--config", "nano",     "--set", "eval_sequences=2", "--start-up",
                                          "train",    "--tokens", "20M",   "--quiet",          "--stop-at"};
  const auto until = [&](const std::string& run, const char* step) {
    std::vector<std::string> words = train;
    words.emplace_back(step);
    const ProcessResult result = run_gca(text.run(run, words));
    REQUIRE_MESSAGE(result.status == 0, result.err);
  };
  until(whole, "6");
  until(parts, "3");
  REQUIRE(run_gca({"pretrain", "--resume", "--output", parts, "--threads", "1", "--quiet", "--stop-at", "6"})
              .status == 0);
  CHECK(checkpoint_bytes(parts) == checkpoint_bytes(whole));

  // Text, too, has its curriculum: after what trains the start-up.
  const json state = json::parse(gca::read_file(whole + "/checkpoint/trainer_state.json"));
  const json& phases = state["phases"]["phases"];
  size_t first_of_text = 0;
  while (first_of_text < phases.size() && phases[first_of_text].value("keep", "") != "start-up")
    ++first_of_text;
  ++first_of_text;
  REQUIRE(first_of_text + 5 == phases.size());
  CHECK(phases[0]["tasks"][0]["task"] == "self-copy");
  CHECK(phases[first_of_text]["tasks"][0]["task"] == "text");
  CHECK(phases.back()["tasks"] == json::array({phases.back()["tasks"][0]}));
  const ProcessResult plan = run_gca(
      text.run(text.folder / "plan", {"--start-up", "train", "--tokens", "20M", "--dry-run", "--json"}));
  REQUIRE_MESSAGE(plan.status == 0, plan.err);
  const auto tokens = plan.json()["result"]["tokens"].get<double>();
  CHECK(tokens > 19.9 * 1024 * 1024);
  CHECK(tokens < 20.1 * 1024 * 1024);

  const auto refusal = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--start-up", "train"};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(text.run(text.folder / "refused", words));
    CHECK(result.status == 2);
    return result.err;
  };
  CHECK(refusal({"--tokens", "1M"}).find("train longer") != std::string::npos);
  CHECK(refusal({"--steps", "100"}).find("3000 steps") != std::string::npos);
  CHECK(refusal({"--steps", "9000", "--task", "self-copy"}).find("phases of its own") != std::string::npos);
  CHECK(refusal({"--steps", "9000", "--set", "long_range=none"}).find("nothing to start up") !=
        std::string::npos);
}

TEST_CASE("a phase keeps its checkpoint under the name that it gives, and another run begins from it") {
  const TextTokens text;
  const std::string run = text.folder / "run";
  gca::testing::write_file(text.folder / "phases.json", R"({"phases": [
    {"name": "copy", "steps": 2, "keep": "copied", "tasks": [{"task": "self-copy", "copy_chunks": 2, "batch": 2}]},
    {"name": "text", "steps": 2, "tasks": [{"task": "text", "context": 310}]}]})");
  const ProcessResult result = run_gca(text.run(run, {"--phases", text.folder / "phases.json", "--json"}));
  REQUIRE_MESSAGE(result.status == 0, result.err);
  const json kept = result.json()["result"]["kept"];
  REQUIRE(kept.size() == 1);
  CHECK(kept[0]["checkpoint"] == run + "/kept/copied");
  CHECK(kept[0]["step"] == 2);
  const ProcessResult begun = run_gca(
      text.run(text.folder / "begun", {"--start-up", run + "/kept/copied", "--steps", "1", "--quiet"}));
  CHECK_MESSAGE(begun.status == 0, begun.err);
}

TEST_CASE("a run has about the tokens that were asked for, the repeats of its start-up included") {
  const TextTokens text;
  // As long as the repeats: the plan counts those of phases that end early, too.
  const ProcessResult result =
      run_gca(text.run(text.folder / "run", {"--tokens", "40K", "--set", "context=1240", "--json"}));
  REQUIRE_MESSAGE(result.status == 0, result.err);
  const auto tokens = result.json()["result"]["tokens"].get<int64_t>();
  CHECK(tokens >= 38 * 1024);
  CHECK(tokens <= 43 * 1024);
}

TEST_CASE(
    "a start-up is left out where a preset only proposes it, and refused where it was asked for and cannot "
    "be") {
  const TextTokens text;
  const std::string run = text.folder / "run";
  const auto config_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = more;
    words.insert(words.end(), {"--steps", "1", "--json", "--overwrite"});
    const ProcessResult result = run_gca(text.run(run, words));
    REQUIRE_MESSAGE(result.status == 0, result.err);
    return std::pair(result.json()["config"], result.err);
  };
  CHECK(config_of({"--set", "long_range=none"}).first["task"] == "text");
  CHECK(config_of({"--set", "start_up=none"}).first["task"] == "text");
  CHECK(config_of({"--task", "self-copy"}).first["task"] == "self-copy");
  const auto [other_sizes, said] = config_of({"--set", "num_upper_layers=3"});
  CHECK(other_sizes["task"] == "text");
  CHECK(said.find("no start-up weights of these sizes are shipped") != std::string::npos);

  const auto refusal = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = more;
    words.insert(words.end(), {"--steps", "1", "--overwrite"});
    const ProcessResult result = run_gca(text.run(run, words));
    CHECK(result.status == 2);
    return result.err;
  };
  CHECK(refusal({"--start-up", "shipped", "--set", "num_upper_layers=3"}).find("--start-up") !=
        std::string::npos);
  CHECK(refusal({"--start-up", "shipped", "--set", "long_range=none"}).find("nothing to start up") !=
        std::string::npos);
  CHECK(refusal({"--start-up", "shipped", "--init", run}).find("--init") != std::string::npos);
  CHECK(refusal({"--start-up", text.folder / "nowhere"}).find("nowhere") != std::string::npos);
  const std::string nano = text.folder / "nano";
  REQUIRE(run_gca({"pretrain", "--data", text.folder / "tokens", "--config", "nano", "--steps", "0",
                   "--output", nano, "--quiet"})
              .status == 0);
  CHECK(refusal({"--start-up", nano}).find("other sizes") != std::string::npos);
}

TEST_CASE("the shipped start-up retrieves repeated paragraphs under an embedding that nobody has trained") {
  const TemporaryFolder folder;
  const std::string books = std::string(GCA_SOURCE_DIR) + "/examples/books/valid";
  const ProcessResult tokenized =
      run_gca({"tokenize", books, "--train-vocab", "1000", "--output", folder / "tokens", "--quiet"});
  REQUIRE_MESSAGE(tokenized.status == 0, tokenized.err);
  for (const char* seed : {"1", "2", "3"}) {
    CAPTURE(seed);
    const ProcessResult untrained =
        run_gca({"pretrain", "--data", folder / "tokens", "--config", "mini", "--start-up", "shipped",
                 "--steps", "0", "--seed", seed, "--output", folder / seed, "--quiet", "--threads", "1"});
    REQUIRE_MESSAGE(untrained.status == 0, untrained.err);
    const ProcessResult eval =
        run_gca({"eval", "--checkpoint", folder / seed, books, "--task", "recall", "--context", "4K",
                 "--trials", "100", "--haystacks", "1", "--seed", "1", "--threads", "1", "--json"});
    REQUIRE_MESSAGE(eval.status == 0, eval.err);
    const json row = eval.json()["result"]["contexts"][0];
    CHECK(row["random"]["accuracy"] < 0.18);
    CHECK(row["correct"] >= 36);
  }
}
