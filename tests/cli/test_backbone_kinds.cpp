// Kinds of backbone beside gca and the window, from training to answers, through the binary.

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/nano_run.h"
#include "tests/support/json_schema.h"

namespace {

struct Kind {
  std::string name;
  std::vector<std::string> settings;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"landmark", {"landmark_local_size=64"}},
      {"rmt", {"memory_size=2", "segment_size=50"}},
      {"fot", {"local_context_size=64", "memory_top_k=8", "crossbatch_contexts=5"}},
      {"longvq", {"codebook_size=8", "sliding_window=32"}},
      {"tensorized", {"tensor_fold=[8,8]"}},
      {"recurformer", {"recurrent_heads=[0]", "recurrent_state_size=4"}},
  };
  return all;
}

std::vector<std::string> settings_of(const Kind& kind) {
  std::vector<std::string> settings = kind.settings;
  settings.insert(settings.end(), {"long_range=" + kind.name, "chunk_size=16", "recompute_activations=true"});
  return settings;
}

}  // namespace

TEST_CASE("kinds of backbone: trained, evaluated, asked, and kept as a session" *
          doctest::test_suite("slow")) {
  for (const Kind& kind : kinds()) {
    CAPTURE(kind.name);
    const NanoRun run(settings_of(kind));
    NanoRun::must_run({"pretrain", "--resume", "--output", run / "run", "--steps", "4"});
    const std::vector<std::string> checkpoint = {"--checkpoint", run.checkpoint()};
    const auto with_checkpoint = [&](std::vector<std::string> words) {
      words.insert(words.end(), checkpoint.begin(), checkpoint.end());
      return run_gca(words);
    };
    const ProcessResult texts = with_checkpoint({"eval", run.book(), "--context", "64,256", "--json"});
    REQUIRE(texts.status == 0);
    const auto contexts = texts.json()["result"]["contexts"];
    CHECK(contexts.size() == 2);
    CHECK(contexts[0]["perplexity"] > 1);
    CHECK(with_checkpoint(
              {"eval", "--task", "passkey", "--data", run.tokens(), "--context", "512", "--trials", "2"})
              .status == 0);

    // What was kept as a session goes on as if nothing had happened.
    const auto generate = [&](std::vector<std::string> words) {
      words.insert(words.begin(), {"generate", "--temperature", "0", "--dtype", "fp32", "--json"});
      const ProcessResult result = with_checkpoint(words);
      INFO(result.err);
      REQUIRE(result.status == 0);
      return result.json()["result"]["tokens"].get<std::vector<int>>();
    };
    const std::string text = NanoRun::pages(3, 9);
    const std::vector<int> at_once = generate({"--prompt", text, "--max-new-tokens", "40"});
    std::vector<int> tokens =
        generate({"--prompt", text, "--max-new-tokens", "15", "--save-memory", run / "session"});
    const std::vector<int> rest = generate({"--load-memory", run / "session", "--max-new-tokens", "25"});
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    CHECK(tokens == at_once);

    const ProcessResult inspect = with_checkpoint({"inspect-retrieval", "--prompt", text});
    const bool chooses = kind.name == "landmark" || kind.name == "fot";
    CHECK(inspect.status == (chooses ? 0 : 2));
    if (!chooses) CHECK(inspect.err.find("does not choose what it reads") != std::string::npos);
  }
}

TEST_CASE("kinds of backbone: what heads choose is shown, and what reading it changes" *
          doctest::test_suite("slow")) {
  for (const Kind& kind : kinds()) {
    if (kind.name != "landmark" && kind.name != "fot") continue;
    CAPTURE(kind.name);
    const NanoRun run(settings_of(kind));
    const std::string text = NanoRun::pages(3, 9);
    const ProcessResult inspect = run_gca({"inspect-retrieval", "--checkpoint", run.checkpoint(), "--prompt",
                                           text, "--html", run / "page.html", "--json"});
    REQUIRE(inspect.status == 0);
    CHECK(problems_of("inspect-retrieval", inspect.json()) == "");
    const auto result = inspect.json()["result"];
    const int64_t chunk_tokens = kind.name == "landmark" ? 15 : 16;
    CHECK(result["chunks"].size() ==
          (result["prompt_tokens"].get<size_t>() + static_cast<size_t>(chunk_tokens) - 1) /
              static_cast<size_t>(chunk_tokens));
    const auto& last = result["chunks"].back();
    for (const auto& head : last["groups"]) {
      CHECK(head["retrieved"].size() >= 1);
      double weight = 0;
      for (const auto& read : head["retrieved"]) {
        weight += read["weight"].get<double>();
        CHECK(read["chosen_by"] <= last["tokens"]);
        CHECK(read.contains("weights_of_tokens") == (kind.name == "fot"));
        CHECK(read["text"] == result["chunks"][read["chunk"].get<size_t>()]["text"]);
      }
      CHECK(weight > 0.0);
      CHECK(weight < 1.0 + 1e-6);
    }

    const ProcessResult eval = run_gca({"eval", run.book(), "--checkpoint", run.checkpoint(), "--context",
                                        "64,256", "--retriever", "learned,none", "--json"});
    REQUIRE(eval.status == 0);
    const auto rows = eval.json()["result"]["contexts"];
    REQUIRE(rows.size() == 4);
    CHECK(rows[2]["retriever"] == "learned");
    CHECK(rows[3]["retriever"] == "none");
    CHECK(rows[2]["loss"] != rows[3]["loss"]);
    const ProcessResult random = run_gca(
        {"eval", run.book(), "--checkpoint", run.checkpoint(), "--context", "64", "--retriever", "random"});
    CHECK(random.status == 2);
    CHECK(random.err.find("use learned or none") != std::string::npos);
  }
}

TEST_CASE("kinds of backbone: a dry run tells what each would take, and a benchmark how long" *
          doctest::test_suite("slow")) {
  for (const Kind& kind : kinds()) {
    CAPTURE(kind.name);
    const auto with_settings = [&](std::vector<std::string> words) {
      for (const std::string& setting : settings_of(kind)) words.insert(words.end(), {"--set", setting});
      const ProcessResult result = run_gca(words);
      INFO(result.err);
      REQUIRE(result.status == 0);
      return result.json()["result"];
    };
    const auto dry = with_settings({"pretrain", "--task", "self-copy", "--config", "nano", "--set",
                                    "vocab_size=32", "--steps", "2", "--dry-run", "--json"});
    CHECK(dry["parameters"] > 1000);
    const auto bench =
        with_settings({"bench", "--config", "nano", "--set", "vocab_size=300", "--context", "128",
                       "--repeats", "1", "--decode-tokens", "20", "--no-peak", "--json"});
    CHECK(bench["rows"].size() == 4);
  }
}

TEST_CASE("kinds of backbone: settings that make no sense are refused by name") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{"long_range=landmark", "landmark_local_size=100"},
       "landmark_local_size 100 is no multiple of chunk_size"},
      {{"long_range=landmark", "landmark_selection=\"some\""}, "landmark_selection is \"some\""},
      {{"long_range=landmark", "landmark_positions=\"here\""}, "landmark_positions is \"here\""},
      {{"long_range=rmt", "segment_size=0"}, "segment_size is 0"},
      {{"long_range=fot", "memory_layers=[9]"}, "memory_layers names upper layer 9"},
      {{"long_range=fot", "memory_layers=[0,0]"}, "memory_layers names upper layer 0"},
      {{"long_range=longvq", "codebook_size=0"}, "codebook_size is 0"},
      {{"long_range=recurformer", "recurrent_heads=[99]"}, "recurrent_heads names head 99"},
      {{"long_range=recurformer", "recurrent_heads=[1,1]"}, "recurrent_heads names head 1"},
      {{"long_range=recurformer", "recurrent_state_size=0"}, "recurrent_state_size is 0"},
      {{"long_range=recurformer", "recurrent_rank=-1"}, "recurrent_rank is -1"},
      {{"codebook_decay=1.5"}, "codebook_decay is out of range"},
      {{"long_range=tensorized", "tensor_fold=[0,8]"}, "tensor_fold has the entry 0"},
      {{"long_range=tensorized", "tensor_fold=[]"}, "tensor_fold is empty"},
      {{"long_range=tensorized", "upper_alibi_slopes=[1.0]"}, "upper_alibi_slopes has 1 entries"},
      {{"bptt_segments=-1"}, "bptt_segments is out of range"},
  };
  for (const auto& one : wrong) {
    CAPTURE(one.second);
    std::vector<std::string> words = {"pretrain", "--task",        "self-copy", "--config", "nano",
                                      "--set",    "vocab_size=32", "--steps",   "2",        "--dry-run"};
    for (const std::string& setting : one.first) words.insert(words.end(), {"--set", setting});
    const ProcessResult result = run_gca(words);
    CHECK(result.status == 2);
    CHECK(result.err.find(one.second) != std::string::npos);
  }
}
