// gca eval, through the binary.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

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

TEST_CASE("eval: --stride, the loss of each document, and that of each token") {
  const NanoRun run;
  const nlohmann::json result =
      eval_report(run, {run.book(), run / "other.txt", "--context", "64", "--stride", "16", "--retriever",
                        "learned,none", "--max-tokens", "700", "--token-losses", run / "tokens.jsonl"});
  REQUIRE(result["contexts"].size() == 2);
  std::istringstream lines(gca::read_file(run / "tokens.jsonl"));
  for (const auto& row : result["contexts"]) {
    REQUIRE(row["documents"].size() == 2);
    CHECK(row["documents"][0]["name"] == run.book());
    CHECK(row["documents"][1]["name"] == run / "other.txt");
    double nats = 0, tokens = 0, bytes = 0;
    for (const auto& document : row["documents"]) {
      double document_nats = 0;
      std::string text;
      for (int64_t token = 1; token <= document["tokens"].get<int64_t>(); ++token) {
        std::string line;
        REQUIRE(std::getline(lines, line));
        const nlohmann::json one = nlohmann::json::parse(line);
        CHECK(one["context"] == 64);
        CHECK(one["retriever"] == row["retriever"]);
        CHECK(one["document"] == document["name"]);
        CHECK(one["token"] == token);
        CHECK(one["seen"].get<int64_t>() <= 64);
        CHECK(one["seen"].get<int64_t>() > (token <= 64 ? token - 1 : 64 - 16));
        document_nats += one["loss"].get<double>();
        text += one["text"];
      }
      const double document_tokens = document["tokens"];
      CHECK(document["loss"].get<double>() == doctest::Approx(document_nats / document_tokens));
      nats += document_nats;
      tokens += document_tokens;
      bytes += document["bytes"].get<double>();
      // Nothing is left out: the tokens' texts are the beginning of the document's, its first token aside.
      if (text.find("\xEF\xBF\xBD") == std::string::npos)
        CHECK(gca::read_file(document["name"]).find(text) <= 16);
    }
    CHECK(tokens == row["tokens"]);
    CHECK(bytes == row["bytes"]);
    CHECK(nats / tokens == doctest::Approx(row["loss"].get<double>()));
    double predictions = 0;
    for (const auto& position : result["positions"])
      if (position["retriever"] == row["retriever"]) predictions += position["tokens"].get<double>();
    CHECK(predictions == tokens);
  }
  std::string rest;
  CHECK_FALSE(std::getline(lines, rest));
  // Most predictions have the most context: only the first stretch of a document begins cold.
  const auto& last = result["positions"][2];
  CHECK(last["from"] == 32);
  CHECK(last["tokens"] == result["contexts"][0]["tokens"].get<int64_t>() - 2 * 32);

  const auto refuses = [&](const std::vector<std::string>& more, const std::string& says) {
    std::vector<std::string> words = {"eval", "--checkpoint", run.checkpoint(), run.book()};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult refused = run_gca(words);
    CAPTURE(refused.err);
    CHECK(refused.status == 2);
    CHECK(refused.err.find(says) != std::string::npos);
  };
  refuses({"--context", "64,256", "--stride", "65"}, "--stride 65");
  refuses({"--context", "256", "--stride", "16", "--task", "passkey"}, "--stride");
}

TEST_CASE("eval: a context of fewer than three chunks says that nothing is retrieved") {
  const NanoRun run;
  const auto says = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"eval", "--checkpoint", run.checkpoint(), run.book(), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(words);
    REQUIRE(result.status == 0);
    return result.err;
  };
  CHECK(says({"--context", "30"}).find("nothing is retrieved at --context 30") != std::string::npos);
  CHECK(says({"--context", "31"}) == "");
  CHECK(says({"--context", "30", "--retriever", "none"}) == "");
  const auto rows =
      eval_report(run, {run.book(), "--context", "30,31", "--retriever", "learned,none"})["contexts"];
  CHECK(rows[0]["loss"] == rows[1]["loss"]);
  CHECK(rows[2]["loss"] != rows[3]["loss"]);
}

TEST_CASE(
    "a tokenizer that loses text: bytes are the source's, and with unknown tokens there are no bits per "
    "byte") {
  const NanoRun run;
  // NFKC, a space before each text, spaces joined, no byte fallback.
  REQUIRE(
      run_program({"spm_train", "--input=" + run.book(), "--model_prefix=" + (run / "lossy"),
                   "--model_type=unigram", "--vocab_size=90", "--hard_vocab_limit=false", "--minloglevel=2"})
          .status == 0);
  std::string known, strange;
  for (int i = 0; i < 100; ++i) {
    known += "the  keeper \xEF\xBD\x8F\xEF\xBD\x86 lamp  ";  // wide letters, two spaces
    strange += "\xE6\xB2\xB3\xE7\x81\xAF";
  }
  gca::write_file_atomically(run / "known.txt", known);
  gca::write_file_atomically(run / "strange.txt", strange + " " + known);
  const ProcessResult table = run_gca({"tokenize", run.book(), run / "known.txt", "--tokenizer",
                                       run / "lossy.model", "--output", run / "lossy-tokens"});
  REQUIRE(table.status == 0);
  CHECK(table.out.find("not lossless") != std::string::npos);
  NanoRun::must_run({"tokenize", run / "strange.txt", "--tokenizer", run / "lossy.model", "--output",
                     run / "strange-tokens"});
  const std::vector<std::string> training = {
      "pretrain", "--data", run / "lossy-tokens", "--config", "nano",         "--steps", "1", "--batch",
      "2",        "--set",  "context=256",        "--set",    "chunk_size=16"};
  std::vector<std::string> words = training;
  words.insert(words.end(), {"--output", run / "known-run", "--valid", run / "lossy-tokens"});
  NanoRun::must_run(words);
  words = training;
  words.insert(words.end(), {"--output", run / "strange-run", "--valid", run / "strange-tokens"});
  const ProcessResult trained = run_gca(words);
  REQUIRE(trained.status == 0);
  CHECK(trained.err.find("no bits per byte: unknown tokens") != std::string::npos);
  const auto valid_of = [&](const std::string& name) {
    return nlohmann::json::parse(gca::read_file(run / (name + "/report.json")))["result"]["valid"].back();
  };
  CHECK(valid_of("strange-run")["bits_per_byte"].is_null());
  CHECK(valid_of("known-run")["bits_per_byte"].is_number());

  const auto eval = [&](const std::vector<std::string>& texts) {
    std::vector<std::string> all = {"eval", "--checkpoint", run / "known-run", "--context", "100", "--json"};
    all.insert(all.end(), texts.begin(), texts.end());
    const ProcessResult result = run_gca(all);
    INFO(result.err);
    REQUIRE(result.status == 0);
    CHECK(problems_of("eval", result.json()) == "");
    CHECK((result.err.find("unknown token") != std::string::npos) ==
          (result.json()["result"]["unknown_tokens"] > 0));
    return result.json()["result"];
  };
  const auto whole = eval({run / "known.txt"})["contexts"][0];
  CHECK(whole["bytes"].get<double>() <= static_cast<double>(known.size()));
  CHECK(whole["bytes"].get<double>() >= static_cast<double>(known.size()) - 8);  // but for the first token
  CHECK(whole["bits_per_byte"].get<double>() ==
        doctest::Approx(whole["loss"].get<double>() * whole["tokens"].get<double>() / std::log(2.0) /
                        whole["bytes"].get<double>())
            .epsilon(1e-3));
  const auto shards = eval({"--data", run / "lossy-tokens"})["contexts"][0];
  CHECK(shards["documents"][1]["bytes"] == whole["bytes"]);

  const auto lost = eval({run / "known.txt", run / "strange.txt"});
  CHECK(lost["unknown_tokens"] == 1);
  CHECK(lost["contexts"][0]["bytes"].is_null());
  CHECK(lost["contexts"][0]["bits_per_byte"].is_null());
  CHECK(lost["contexts"][0]["documents"][0]["bytes"] == whole["bytes"]);
  CHECK(lost["contexts"][0]["documents"][1]["bytes"].is_null());
  const ProcessResult printed = run_gca(
      {"eval", "--checkpoint", run / "known-run", "--data", run / "strange-tokens", "--context", "100"});
  REQUIRE(printed.status == 0);
  CHECK(printed.out.find("unknown") != std::string::npos);
}

TEST_CASE("end tokens: between documents on request, in the checkpoint, counted by eval") {
  const NanoRun run;
  const std::string model = run.tokens() + "/tokenizer.model";
  NanoRun::must_run({"tokenize", run.book(), run / "other.txt", "--tokenizer", model, "--end-tokens",
                     "--output", run / "ends"});
  CHECK(problems_of("tokenize", nlohmann::json::parse(gca::read_file(run / "ends/report.json"))) == "");
  CHECK(run_gca({"tokenize", "--decode", run / "ends"}).out ==
        gca::read_file(run.book()) + gca::read_file(run / "other.txt"));
  const auto ids = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"tokenize", run.book(), "--tokenizer", model, "--print-ids"};
    words.insert(words.end(), more.begin(), more.end());
    return run_gca(words).out;
  };
  std::string with_end = ids({});
  with_end.insert(with_end.size() - 1, " 2");  // </s> of the tokenizers that gca trains
  CHECK(ids({"--end-tokens"}) == with_end);

  NanoRun::must_run({"chunk", "--tokens", run / "ends", "--output", run / "joined", "--chunk-size", "16",
                     "--context", "256", "--join-documents", "--valid-fraction", "0.3"});
  const auto chunked = nlohmann::json::parse(gca::read_file(run / "joined/report.json"));
  CHECK(problems_of("chunk", chunked) == "");
  CHECK(chunked["result"]["end_tokens"] == true);
  NanoRun::must_run({"pretrain", "--data", run / "joined", "--config", "nano", "--steps", "2", "--batch", "2",
                     "--set", "context=256", "--output", run / "ended"});
  CHECK(nlohmann::json::parse(gca::read_file(run / "ended/checkpoint/config.json"))["eos_token_id"] == 2);
  CHECK_FALSE(
      nlohmann::json::parse(gca::read_file(run.checkpoint() + "/config.json")).contains("eos_token_id"));
  NanoRun::must_run(
      {"pretrain", "--data", run / "joined", "--resume", "--steps", "3", "--output", run / "ended"});
  CHECK(nlohmann::json::parse(gca::read_file(run / "ended/checkpoint/config.json"))["eos_token_id"] == 2);

  const auto eval = [&](const std::string& checkpoint, const std::vector<std::string>& texts) {
    std::vector<std::string> words = {"eval", "--checkpoint", checkpoint, "--context", "256", "--json"};
    words.insert(words.end(), texts.begin(), texts.end());
    const ProcessResult result = run_gca(words);
    INFO(result.err);
    REQUIRE(result.status == 0);
    CHECK(problems_of("eval", result.json()) == "");
    return result.json()["result"];
  };
  // The same from text and from shards, for a model that knows ends; two tokens more than without.
  const auto text = eval(run / "ended", {run.book(), run / "other.txt"});
  const auto shards = eval(run / "ended", {"--data", run / "ends"});
  const auto without = eval(run.checkpoint(), {run.book(), run / "other.txt"});
  CHECK(text["end_tokens"] == 2);
  CHECK(shards["end_tokens"] == 2);
  CHECK(without["end_tokens"] == 0);
  CHECK(text["contexts"][0]["tokens"] == without["contexts"][0]["tokens"].get<int64_t>() + 2);
  CHECK(text["contexts"][0]["bytes"] == without["contexts"][0]["bytes"]);
  CHECK(text["contexts"][0]["loss"].get<double>() ==
        doctest::Approx(shards["contexts"][0]["loss"].get<double>()).epsilon(1e-6));
  const ProcessResult table =
      run_gca({"eval", "--checkpoint", run / "ended", run.book(), "--context", "256"});
  CHECK(table.out.find("1 end token predicted and counted") != std::string::npos);
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
