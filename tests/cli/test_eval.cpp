// gca eval, through the binary.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/cli/nano_run.h"
#include "tests/support/json_schema.h"

namespace {

nlohmann::json eval_report(const NanoRun& run, std::vector<std::string> words) {
  words.insert(words.begin(), {"eval", "--checkpoint", run.checkpoint(), "--json", "--dtype", "fp32"});
  const ProcessResult result = run_gca(words);
  INFO(result.err);
  REQUIRE(result.status == 0);
  const nlohmann::json report = result.json();
  CHECK(problems_of("eval", report) == "");
  return report["result"];
}

}  // namespace

TEST_CASE("eval: contexts and retrievers side by side") {
  const NanoRun run;
  const nlohmann::json result =
      eval_report(run, {"--data", run.sequences(), "--context", "64,1K", "--retriever", "learned,random,none",
                        "--max-tokens", "1500"});
  REQUIRE(result["contexts"].size() == 6);
  CHECK(result["text_tokens"] == 1500);
  CHECK(result["left_out_tokens"] > 0);
  for (const auto& row : result["contexts"]) {
    const double loss = row["loss"];
    const double tokens = row["tokens"];
    CHECK(row["tokens"] == result["contexts"][0]["tokens"]);  // the same targets everywhere
    CHECK(row["perplexity"].get<double>() == doctest::Approx(std::exp(loss)));
    CHECK(row["bits_per_byte"].get<double>() ==
          doctest::Approx(loss * tokens / std::log(2.0) / row["bytes"].get<double>()));
    CHECK(loss > 1.0);
    CHECK(loss < 7.0);  // log(401) is 5.99
    double nats = 0;
    double counted = 0;
    for (const auto& position : result["positions"]) {
      if (position["context"] != row["context"] || position["retriever"] != row["retriever"]) continue;
      nats += position["loss"].get<double>() * position["tokens"].get<double>();
      counted += position["tokens"].get<double>();
    }
    CHECK(counted == tokens);
    CHECK(nats == doctest::Approx(loss * tokens));
  }
}

TEST_CASE("eval: raw text and its shards give the same numbers, and all bytes are counted") {
  const NanoRun run;
  NanoRun::must_run({"tokenize", run.book(), "--output", run / "book-tokens", "--tokenizer",
                     run.checkpoint() + "/tokenizer.model"});
  const auto shards = eval_report(run, {"--data", run / "book-tokens"})["contexts"][0];
  const auto text = eval_report(run, {run.book(), "--segment", "64"})["contexts"][0];
  CHECK(shards["context"] == 256);  // what the model was trained with
  CHECK(text["tokens"] == shards["tokens"]);
  CHECK(text["bytes"] == shards["bytes"]);
  CHECK(text["loss"].get<double>() == doctest::Approx(shards["loss"].get<double>()).epsilon(1e-5));
  const auto first_token_bytes =
      static_cast<int64_t>(gca::read_file(run.book()).size()) - text["bytes"].get<int64_t>();
  CHECK(first_token_bytes >= 1);
  CHECK(first_token_bytes <= 16);
}

TEST_CASE("eval: the table, and a sliding-window model") {
  const NanoRun run({"long_range=none", "chunk_size=16"});
  const ProcessResult table = run_gca({"eval", "--checkpoint", run / "run", run.book(), "--context", "64"});
  CHECK(table.status == 0);
  CHECK(table.err == "");
  CHECK(table.out.find("perplexity") != std::string::npos);
  CHECK(table.out.find("16 to 31") != std::string::npos);
  CHECK(eval_report(run, {run.book()})["contexts"][0]["retriever"] == "none");
  CHECK(run_gca({"eval", "--checkpoint", run / "run", run.book(), "--retriever", "random"}).status == 2);
}

TEST_CASE("eval: needles and recall, at several contexts" * doctest::test_suite("slow")) {
  const NanoRun run;
  for (const std::string task : {"passkey", "multikey", "multihop", "recall"}) {
    CAPTURE(task);
    const std::vector<std::string> words = {"--data",    run.tokens(), "--task",      task,
                                            "--context", "256,1K",     "--trials",    "12",
                                            "--seed",    "3",          "--retriever", "learned,none"};
    nlohmann::json result = eval_report(run, words);
    REQUIRE(result["contexts"].size() == 4);
    for (const auto& row : result["contexts"]) {
      CHECK(row["trials"] == 12);
      CHECK(row["text_tokens"] <= row["context"]);
      CHECK(row["text_tokens"] > row["context"].get<int64_t>() - 32);
      CHECK(row["low"] <= row["accuracy"]);
      CHECK(row["accuracy"] <= row["high"]);
      int64_t trials = 0, correct = 0;
      for (const auto& depth : result["depths"]) {
        if (depth["context"] != row["context"] || depth["retriever"] != row["retriever"]) continue;
        trials += depth["trials"].get<int64_t>();
        correct += depth["correct"].get<int64_t>();
      }
      CHECK(trials == 12);
      CHECK(correct == row["correct"]);
      // Who reads nothing has retrieved nothing.
      if (row["retriever"] == "none" && task == "recall") CHECK(row["correct"] == 0);
      if (row["retriever"] == "none" && task != "recall") CHECK(row["retrieval"][0]["correct"] == 0);
      if (task == "recall") CHECK(row["bm25"]["correct"] > 6);
    }
    nlohmann::json again = eval_report(run, words);
    for (nlohmann::json* one : {&again, &result})
      for (auto& row : (*one)["contexts"]) row.erase("seconds"), row.erase("haystack_seconds");
    CHECK(again.dump() == result.dump());
  }
  // The plain way, and any place of the memory, tell the same.
  std::vector<std::string> words = {"--data",    run.tokens(), "--task",   "multihop",
                                    "--context", "1K",         "--trials", "9"};
  const nlohmann::json patched = eval_report(run, words)["contexts"][0];
  CHECK(patched["prefill"] == "patched");
  words.push_back("--full-prefill");
  const nlohmann::json full = eval_report(run, words)["contexts"][0];
  CHECK(full["prefill"] == "full");
  words.pop_back();
  words.insert(words.end(), {"--memory", "file:" + (run / "scratch"), "--haystacks", "9"});
  const nlohmann::json filed = eval_report(run, words)["contexts"][0];
  for (const char* key : {"correct", "exact", "retrieval"}) {
    CHECK(patched[key] == full[key]);
    CHECK(patched[key] == filed[key]);
  }

  const ProcessResult table = run_gca({"eval", "--checkpoint", run / "run", run.book(), "--task", "passkey",
                                       "--context", "256", "--trials", "5"});
  CHECK(table.status == 0);
  CHECK(table.err == "");
  CHECK(table.out.find("whole answer") != std::string::npos);
}

TEST_CASE("eval: wrong usage is told in one line" * doctest::test_suite("slow")) {
  const NanoRun run;
  NanoRun::must_run({"tokenize", run.book(), "--output", run / "others", "--train-vocab", "380"});
  const std::string checkpoint = run.checkpoint();
  const struct {
    std::vector<std::string> words;
    std::string says;
  } cases[] = {
      {{run.book(), "--task", "passkeys"}, "--task"},
      {{run.book(), "--task", "passkey"}, "--context"},
      {{run.book(), "--task", "passkey", "--context", "40"}, "longer --context"},
      {{run.book(), "--task", "passkey", "--context", "1K", "--trials", "0"}, "--trials"},
      {{run.book(), "--data", run.tokens()}, "--data"},
      // Errors name the flag, not the setting of training that stands for the same.
      {{run.book(), "--task", "passkey", "--context", "1K", "--value-tokens", "0"}, "--value-tokens"},
      {{run.book(), "--task", "multikey", "--context", "1K", "--distractors", "2M"}, "--distractors"},
      {{run.book(), "--task", "multikey", "--context", "64K", "--distractors", "900"}, "raise --key-tokens"},
      {{run.book(), "--task", "multihop", "--context", "1K", "--key-tokens", "40"}, "lower --key-tokens"},
      {{run.book(), "--task", "recall", "--context", "1K", "--passage-chunks", "2"}, "--passage-chunks"},
      {{run.book(), "--task", "recall", "--context", "64"}, "longer --context"},
      // A flag that the task does not look at.
      {{run.book(), "--task", "recall", "--context", "1K", "--hops", "2"}, "--hops"},
      {{run.book(), "--passage-chunks", "4"}, "--passage-chunks"},
      {{}, "--data"},
      {{"--data", run / "others"}, "others"},
      {{"--data", run / "nowhere"}, "nowhere"},
      {{"--data", run.tokens(), "--split", "valid"}, "--split"},
      {{run.book(), "--context", "0"}, "--context"},
      {{run / "nothing.txt"}, "nothing.txt"},
  };
  for (const auto& one : cases) {
    std::vector<std::string> words = {"eval", "--checkpoint", checkpoint};
    words.insert(words.end(), one.words.begin(), one.words.end());
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(one.says) != std::string::npos);
    CHECK(result.err.find("needle_") == std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  const ProcessResult missing = run_gca({"eval", "--checkpoint", run / "tokens", run.book()});
  CHECK(missing.status == 2);
  CHECK(missing.err.find("holds no checkpoint") != std::string::npos);
}
