// eval, tokenize and memory build by several ranks: what one process gives, to the byte.

#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/cli/folder_image.h"
#include "tests/cli/launched.h"
#include "tests/cli/nano_run.h"

namespace {

std::string report_text(const std::string& folder) {
  return gca::read_file(folder + "/report.json");
}

/// What is in `folder` beside the report, which has times.
FolderImage files_of(const std::string& folder) {
  FolderImage image = image_of(folder);
  image.erase("report.json");
  return image;
}

/// Runs the words, with --json, in one process and in ranks: the reports must be the same, and what `look` gives after
/// each run.
void check_same(
    const std::vector<std::string>& given, const std::vector<int>& ranks,
    const std::function<std::string()>& look = [] { return std::string(); }) {
  std::vector<std::string> words = given;
  words.emplace_back("--json");
  const ProcessResult one = run_gca(words);
  REQUIRE_MESSAGE(one.status == 0, one.err);
  const std::string seen = look();
  for (const int count : ranks) {
    CAPTURE(count);
    const ProcessResult shared = run_gca(launched(count, words));
    CHECK_MESSAGE(shared.status == 0, shared.err);
    CHECK(shared.err.find("error") == std::string::npos);
    REQUIRE_FALSE(shared.out.empty());
    CHECK(without_times(shared.out).dump(1) == without_times(one.out).dump(1));
    CHECK(look() == seen);
  }
}

std::vector<std::string> eval_words(const NanoRun& run, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"eval", "--checkpoint", run.checkpoint(), "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("ranks: eval sums the losses of one process, token by token") {
  const NanoRun run;
  const std::string losses = run / "losses.jsonl";
  check_same(eval_words(run, {"--data", run.sequences(), "--context", "64,256", "--retriever",
                              "learned,random", "--token-losses", losses}),
             {2, 3}, [&] { return gca::read_file(losses); });
  // Text files, strides, and more ranks than there is work for.
  check_same(eval_words(run, {run.book(), run / "other.txt", "--context", "100", "--stride", "40",
                              "--max-tokens", "600"}),
             {2, 5});
}

TEST_CASE("ranks: eval gives every trial the answer that one process gives" * doctest::test_suite("slow")) {
  const NanoRun run;
  for (const std::string task : {"passkey", "multihop", "recall"}) {
    CAPTURE(task);
    std::vector<std::string> words =
        eval_words(run, {"--data", run.tokens(), "--task", task, "--context", "256,512", "--trials", "11",
                         "--haystacks", "4", "--retriever", "learned,none"});
    check_same(words, {2, 3});
  }
  check_same(eval_words(run, {"--data", run.tokens(), "--task", "passkey", "--context", "256", "--trials",
                              "5", "--memory", "file:" + run / "scratch"}),
             {3});
}

TEST_CASE("ranks: eval under cache policies" * doctest::test_suite("slow")) {
  const NanoRun run({"self_attention=full", "long_range=none"});
  const std::vector<std::string> policies = {"--kv-policy", "full,sink,recycled", "--kv-window",
                                             "40",          "--kv-sinks",         "2"};
  const auto words = [&](std::vector<std::string> more) {
    more.insert(more.end(), policies.begin(), policies.end());
    return eval_words(run, more);
  };
  check_same(words({run.book(), "--context", "256", "--answer-tokens", "32", "--question-tokens", "16",
                    "--max-tokens", "1K"}),
             {2, 3});
  check_same(words({"--data", run.tokens(), "--task", "passkey", "--context", "256", "--trials", "5"}), {2});
}

TEST_CASE("ranks: tokenize writes the shards of one process") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "texts");
  // Of some MiB, so that there are several rounds; documents of every size.
  std::string lines;
  for (int i = 0; i < 400; ++i)
    lines += nlohmann::json{{"text", NanoRun::pages(i * 37, i % 90)}}.dump() + "\n";
  gca::write_file_atomically(folder / "texts/a.jsonl", lines);
  gca::write_file_atomically(folder / "texts/b.txt", NanoRun::pages(0, 50000));
  gca::write_file_atomically(folder / "texts/c.txt", "");
  gca::write_file_atomically(folder / "texts/d.txt", std::string("NUL \0 and an end", 16));
  const std::string tokens = folder / "tokens";
  const auto all = [&] {
    std::string text;
    for (const auto& [name, content] : files_of(tokens)) text += name + " " + content + "\n";
    return text + without_times(report_text(tokens)).dump(1);
  };
  std::vector<std::string> words = {"tokenize", folder / "texts", "--output",  tokens, "--train-vocab",
                                    "400",      "--end-tokens",   "--threads", "1"};
  const ProcessResult one = run_gca(words);
  REQUIRE_MESSAGE(one.status == 0, one.err);
  const std::string expected = all();
  for (const int ranks : {2, 3}) {
    const ProcessResult shared = run_gca(launched(ranks, words));
    CHECK_MESSAGE(shared.status == 0, shared.err);
    CHECK(all() == expected);
    CHECK(count_of(shared.out, "400 ") == count_of(one.out, "400 "));
  }
  // A report elsewhere, and ids on standard output.
  check_same({"tokenize", folder / "texts", "--output", tokens, "--tokenizer", tokens + "/tokenizer.model",
              "--report", folder / "report.json"},
             {2}, [&] { return without_times(gca::read_file(folder / "report.json")).dump(1); });
  words = {"tokenize", folder / "texts", "--print-ids", "--tokenizer", tokens + "/tokenizer.model"};
  CHECK(run_gca(launched(3, words)).out == run_gca(words).out);
}

TEST_CASE("ranks: memory build writes the library of one process") {
  const NanoRun run;
  const std::string library = run / "library";
  const auto files = [&] {
    std::string text;
    for (const auto& [name, content] : files_of(library)) text += name + " " + content + "\n";
    return text;
  };
  for (const std::string dtype : {"fp32", "int8"})
    check_same({"memory", "build", run.book(), run / "other.txt", "--checkpoint", run.checkpoint(),
                "--output", library, "--memory-dtype", dtype, "--threads", "1"},
               {2, 4}, files);
  check_same({"memory", "build", run.tokens(), "--checkpoint", run.checkpoint(), "--output", library,
              "--threads", "2"},
             {2}, files);
}

TEST_CASE("ranks: what is wrong is told once, by whoever sees it") {
  const NanoRun run;
  const std::string broken = run / "broken";
  std::filesystem::copy(run.tokens(), broken);
  std::string shard = gca::read_file(broken + "/tokens-00000.bin");
  shard[shard.size() / 2] = static_cast<char>(shard[shard.size() / 2] ^ 1);
  gca::write_file_atomically(broken + "/tokens-00000.bin", shard);
  gca::write_file_atomically(run / "bad.jsonl", "{\"text\": \"good\"}\n{\"text\": \n");
  const struct {
    std::vector<std::string> words;
    std::string message;
  } cases[] = {
      {eval_words(run, {"--no-such-flag"}), "gca eval: error: --no-such-flag: no such flag"},
      {eval_words(run, {"--context", "64"}), "gca eval: error: --data: is missing"},
      {eval_words(run, {"--data", broken, "--context", "64"}),
       "gca eval: error: " + broken + "/tokens-00000.bin"},
      {eval_words(run, {"-", "--context", "64"}), "gca eval: error: -: can be read only once"},
      {eval_words(run, {"--data", run.tokens(), "--task", "passkey", "--context", "16"}),
       "gca eval: error: "},
      {{"tokenize", run / "bad.jsonl", "--output", run / "none", "--tokenizer",
        run.tokens() + "/tokenizer.model"},
       "gca tokenize: error: " + run / "bad.jsonl"},
      {{"tokenize", run.book()}, "gca tokenize: error: --output: is missing"},
      {{"tokenize", "--decode", run.tokens()}, "gca tokenize: error: --decode: is not shared among ranks"},
      {{"memory", "build", run.book(), "--output", run / "none"},
       "gca memory: error: --checkpoint: is missing"},
      {{"memory", "build", broken, "--checkpoint", run.checkpoint(), "--output", run / "none"},
       "gca memory: error: " + broken},
      {{"memory", "info", run / "none"}, "gca memory: error: info: is not shared among ranks"},
      {{"pretrain", "--steps", "many"}, "gca pretrain: error: --steps"},
      {{"generate", "--checkpoint", run.checkpoint()},
       "gca launch: error: generate: does not share its work among ranks; launch one of pretrain, eval, "
       "tokenize, memory"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.message);
    const ProcessResult result = run_gca(launched(3, one.words));
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.out.empty());
    CHECK(result.err.find(one.message) != std::string::npos);
    CHECK(count_of(result.err, "error:") == 1);
    CHECK_FALSE(std::filesystem::exists(run / "none"));
  }
}

TEST_CASE("ranks: different mistakes are all told") {
  const TemporaryFolder folder;
  const auto rank = [&](int number, const std::string& flag) {
    const std::string port = std::to_string(20000 + (getpid() + 7) % 12000);
    std::vector<std::string> words = gca_words({"eval", "--checkpoint", "none", flag});
    words.insert(words.begin(), {"env", "RANK=" + std::to_string(number), "WORLD_SIZE=3",
                                 "LOCAL_WORLD_SIZE=3", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port});
    return words;
  };
  RunningProcess zero(rank(0, "--wrong"));
  RunningProcess one(rank(1, "--other"));
  RunningProcess two(rank(2, "--wrong"));
  const ProcessResult first = zero.wait(), second = one.wait(), third = two.wait();
  for (const ProcessResult* result : {&first, &second, &third}) CHECK(result->status == 2);
  CHECK(first.err.starts_with("gca eval: error: --wrong: no such flag"));
  CHECK(second.err.starts_with("gca eval: error: --other: no such flag"));
  CHECK(third.err.empty());
}

TEST_CASE("ranks: Ctrl-C ends all of them with one line") {
  const NanoRun run;
  RunningProcess process(
      gca_words(launched(3, eval_words(run, {"--data", run.tokens(), "--task", "passkey", "--context", "256",
                                             "--trials", "1000000"}))));
  std::this_thread::sleep_for(std::chrono::seconds(4));
  process.send_signal(SIGINT);
  const ProcessResult result = process.wait();
  CHECK(result.status == 130);
  CHECK(result.err.ends_with("gca eval: error: interrupted\n"));
  CHECK(count_of(result.err, "error:") == 1);
}
