// Several processes as the ranks of one training run, started by gca launch.

#include <dirent.h>
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <thread>

#include "tests/cli/launched.h"
#include "tests/cli/nano_run.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/run_gca.h"
#include "tests/support/skip.h"

namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> rank_run(const std::string& output, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = tiny_run(output, {"--batch", "4", "--dtype", "fp32", "--quiet"});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

int64_t last_step(const std::string& output) {
  std::ifstream metrics(output + "/metrics.jsonl");
  int64_t step = -1;
  for (std::string line; std::getline(metrics, line);)
    if (const auto entry = nlohmann::json::parse(line, nullptr, false); entry.is_object())
      step = entry["step"];
  return step;
}

std::vector<double> losses_of(const std::string& output) {
  std::vector<double> losses;
  std::ifstream metrics(output + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);)
    if (const auto entry = nlohmann::json::parse(line); entry.contains("loss"))
      losses.push_back(entry["loss"]);
  return losses;
}

/// The process of rank `rank` of the run in `output`.
pid_t process_of_rank(const std::string& output, int rank) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto content = [&](const char* file) {
      std::ifstream stream(entry.path() / file, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(stream), {});
    };
    const std::string words = content("cmdline");
    const std::string variables = content("environ");
    if (words.find(output) == std::string::npos || words.find("launch") != std::string::npos) continue;
    if ((std::string(1, '\0') + variables)
            .find(std::string(1, '\0') + "RANK=" + std::to_string(rank) + '\0') != std::string::npos)
      return std::stoi(name);
  }
  return -1;
}

}  // namespace

TEST_CASE("launch: ranks train what one process trains, and go on where others stopped") {
  const TemporaryFolder folder;
  REQUIRE(run_gca(rank_run(folder / "alone", {"--steps", "20"})).status == 0);
  const std::vector<double> expected = losses_of(folder / "alone");
  const auto check_losses = [&](const std::string& output) {
    const std::vector<double> losses = losses_of(output);
    REQUIRE(losses.size() == 20);
    for (size_t i = 0; i < losses.size(); ++i) CHECK(std::abs(losses[i] - expected[i]) <= 1e-5);
  };
  const ProcessResult two = run_gca(launched(2, rank_run(folder / "two", {"--steps", "20", "--json"})));
  CHECK_MESSAGE(two.status == 0, two.err);
  CHECK_MESSAGE(two.err.empty(), two.err);
  CHECK(two.json()["result"]["steps"] == 20);  // rank 0 alone reports
  CHECK(two.json()["result"]["ranks"] == 2);
  check_losses(folder / "two");

  REQUIRE(run_gca(launched(4, rank_run(folder / "changing", {"--steps", "20", "--stop-at", "6"}))).status ==
          0);
  std::vector<std::string> goes_on = {"pretrain",          "--resume",  "--output",
                                      folder / "changing", "--stop-at", "12"};
  const ProcessResult resumed_by_two = run_gca(launched(2, goes_on));
  CHECK_MESSAGE(resumed_by_two.status == 0, resumed_by_two.err);
  CHECK(resumed_by_two.err.find("ranks were 4 and are 2: ") != std::string::npos);
  REQUIRE(run_gca(resumed(folder / "changing")).status == 0);
  check_losses(folder / "changing");

  // The files of a checkpoint are those of one process.
  for (const char* output : {"two", "changing"})
    for (const char* file : {"config.json", "model.safetensors", "optimizer.safetensors"})
      CHECK(std::filesystem::file_size(folder / output + "/checkpoint/" + file) ==
            std::filesystem::file_size(folder / "alone/checkpoint/" + file));
  CHECK_FALSE(std::filesystem::exists(folder / "two/checkpoint.moments"));
}

TEST_CASE("launch: text, with its validation shared out, gives the figures of one process") {
  const NanoRun run;
  const auto words = [&](const std::string& output) {
    return std::vector<std::string>{"pretrain",
                                    "--data",
                                    run.sequences(),
                                    "--config",
                                    "nano",
                                    "--output",
                                    output,
                                    "--steps",
                                    "4",
                                    "--batch",
                                    "2",
                                    "--set",
                                    "context=256",
                                    "--set",
                                    "gradient_accumulation=2",
                                    "--set",
                                    "eval_sequences=5",
                                    "--dtype",
                                    "fp32",
                                    "--threads",
                                    "1",
                                    "--json"};
  };
  const ProcessResult one = run_gca(words(run / "one"));
  const ProcessResult two = run_gca(launched(2, words(run / "two")));
  CHECK_MESSAGE(two.status == 0, two.err);
  const auto valid_of = [](const ProcessResult& result) { return result.json()["result"]["valid"]; };
  REQUIRE(valid_of(one).size() == valid_of(two).size());
  CHECK(valid_of(one).front() == valid_of(two).front());  // before the first step: to the bit
  const auto bits = [](const auto& valid) { return valid["bits_per_byte"].template get<double>(); };
  CHECK(std::abs(bits(valid_of(one).back()) - bits(valid_of(two).back())) <= 1e-5);
  CHECK(one.json()["result"]["tokens"] == two.json()["result"]["tokens"]);
  CHECK(one.json()["result"]["data"] == two.json()["result"]["data"]);
}

TEST_CASE("launch: ranks that share a text train what one process trains") {
  const TemporaryFolder folder;
  REQUIRE(run_gca(rank_run(folder / "alone", {"--steps", "6"})).status == 0);
  const std::vector<double> expected = losses_of(folder / "alone");
  for (const int ranks : {2, 4}) {
    const std::string output = folder / ("shared" + std::to_string(ranks));
    const ProcessResult shared =
        run_gca(launched(ranks, rank_run(output, {"--steps", "6", "--context-parallel", "2"})));
    CHECK_MESSAGE(shared.status == 0, shared.err);
    const std::vector<double> losses = losses_of(output);
    REQUIRE(losses.size() == expected.size());
    for (size_t i = 0; i < losses.size(); ++i) CHECK(std::abs(losses[i] - expected[i]) <= 1e-5);
  }
}

TEST_CASE("launch: ranks that share texts of full attention train what one process trains" *
          doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const auto full = [&](const std::string& output, std::vector<std::string> more) {
    for (const char* setting : {"self_attention=full", "long_range=none"}) {
      more.emplace_back("--set");
      more.emplace_back(setting);
    }
    more.insert(more.end(), {"--steps", "6"});
    return rank_run(output, more);
  };
  const auto check_shared = [&](int ranks, const std::vector<std::string>& settings,
                                const std::vector<std::string>& sharing) {
    CAPTURE(ranks);
    CAPTURE(sharing.back());
    std::filesystem::remove_all(folder / "alone");
    std::filesystem::remove_all(folder / "shared");
    REQUIRE(run_gca(full(folder / "alone", settings)).status == 0);
    std::vector<std::string> words = settings;
    words.insert(words.end(), sharing.begin(), sharing.end());
    const ProcessResult shared = run_gca(launched(ranks, full(folder / "shared", words)));
    CHECK_MESSAGE(shared.status == 0, shared.err);
    const std::vector<double> expected = losses_of(folder / "alone");
    const std::vector<double> losses = losses_of(folder / "shared");
    REQUIRE(losses.size() == 6);
    for (size_t i = 0; i < losses.size(); ++i) CHECK(std::abs(losses[i] - expected[i]) <= 1e-5);
  };
  check_shared(2, {}, {"--context-parallel", "2"});
  check_shared(4, {}, {"--context-parallel", "2", "--cp-scheme", "zigzag"});
  check_shared(2, {}, {"--context-parallel", "2", "--cp-scheme", "ring"});
  check_shared(4, {"--set", "recompute_activations=true"},
               {"--context-parallel", "4", "--cp-scheme", "ring"});
  check_shared(2, {"--set", "position=alibi"}, {"--context-parallel", "2", "--cp-scheme", "gather"});
}

TEST_CASE("launch: a signal stops all ranks after the same step and saves, SIGUSR1 saves and goes on") {
  const TemporaryFolder folder;
  RunningProcess run(gca_words(launched(3, rank_run(folder / "run", {"--steps", "1000000"}))));
  REQUIRE(run.wait_until([&] { return last_step(folder / "run") >= 2; }));
  const int64_t before = saved_step(folder / "run");
  run.send_signal(SIGUSR1);
  REQUIRE(run.wait_until([&] { return saved_step(folder / "run") > before; }));
  const int64_t saved = saved_step(folder / "run");
  REQUIRE(run.wait_until([&] { return last_step(folder / "run") > saved; }));
  run.send_signal(SIGINT);
  const ProcessResult result = run.wait();
  CHECK(result.status == 130);
  CHECK(result.err.ends_with("gca pretrain: error: interrupted\n"));
  CHECK(count_of(result.err, "error:") == 1);
  CHECK(saved_step(folder / "run") == last_step(folder / "run"));
}

TEST_CASE("launch: where a rank is killed the others end, and the checkpoint resumes") {
  const TemporaryFolder folder;
  RunningProcess run(gca_words(
      launched(3, rank_run(folder / "run", {"--steps", "1000000", "--set", "checkpoint_interval=3"}))));
  REQUIRE(run.wait_until([&] { return last_step(folder / "run") >= 7; }));
  const pid_t victim = process_of_rank(folder / "run", 1);
  REQUIRE(victim > 0);
  const auto start = Clock::now();
  kill(victim, SIGKILL);
  const ProcessResult result = run.wait();
  CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 5.0);
  CHECK(result.status == 128 + SIGKILL);
  CHECK(result.err.find("gca launch: error: rank 1 was ended by signal 9 (Killed)\n") != std::string::npos);
  CHECK(std::regex_search(
      result.err, std::regex("gca pretrain: error: rank [02]: step \\d+.* was lost while exchanging ")));
  CHECK(count_of(result.err, " error: ") == 2);
  const int64_t saved = saved_step(folder / "run");
  CHECK(saved >= 3);
  CHECK(saved % 3 == 0);
  const std::string stop = std::to_string(saved + 3);
  const ProcessResult resumed_run = run_gca(
      launched(2, {"pretrain", "--resume", "--quiet", "--output", folder / "run", "--stop-at", stop}));
  CHECK_MESSAGE(resumed_run.status == 0, resumed_run.err);
  CHECK(saved_step(folder / "run") == saved + 3);
}

TEST_CASE("launch: when it is killed itself, its ranks save and end") {
  const TemporaryFolder folder;
  {
    RunningProcess run(gca_words(launched(2, rank_run(folder / "run", {"--steps", "1000000"}))));
    REQUIRE(run.wait_until([&] { return last_step(folder / "run") >= 2; }));
    run.send_signal(SIGKILL);
    CHECK(run.wait().status == 128 + SIGKILL);
  }
  const auto end = Clock::now() + std::chrono::seconds(30);
  while (process_of_rank(folder / "run", 0) > 0 && Clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(process_of_rank(folder / "run", 0) < 0);
  CHECK(saved_step(folder / "run") == last_step(folder / "run"));
}

TEST_CASE("launch: what cannot be started is one line, and leaves nothing") {
  const TemporaryFolder folder;
  const auto full_attention = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--steps", "2", "--set", "self_attention=full", "--set", "long_range=none"});
    return rank_run(folder / "run", more);
  };
  const struct {
    std::vector<std::string> words;
    std::string message;
  } cases[] = {
      {launched(5, rank_run(folder / "run", {"--steps", "2"})),
       "gca pretrain: error: --batch: a batch of 4 has no row for each of 5 ranks; use a batch of 5 "
       "or more, or fewer ranks\n"},
      {launched(2, rank_run(folder / "run", {"--steps", "2", "--set", "long_range=fot"})),
       "gca pretrain: error: long_range fot: in training the rows of its batch see each other; "
       "train it in one process\n"},
      {launched(2, rank_run(folder / "run", {"--steps", "2", "--context-parallel", "3"})),
       "gca pretrain: error: --context-parallel 3: does not divide 2 ranks; start a multiple of so "
       "many ranks (gca launch -n "
       "N -- pretrain ...)\n"},
      {launched(2, rank_run(folder / "run",
                            {"--steps", "2", "--context-parallel", "2", "--set", "long_range=rmt"})),
       "gca pretrain: error: --context-parallel 2: a model with long_range rmt reads each text "
       "whole; leave it out\n"},
      {launched(2,
                rank_run(folder / "run", {"--steps", "2", "--context-parallel", "2", "--cp-scheme", "ring"})),
       "gca pretrain: error: --cp-scheme: is for full attention; leave it out, or set self_attention=full\n"},
      {launched(2, rank_run(folder / "run", {"--steps", "2", "--context-parallel", "2", "--cp-scheme",
                                             "zigzag", "--set", "long_range=none"})),
       "gca pretrain: error: --cp-scheme: is for full attention; leave it out, or set self_attention=full\n"},
      {launched(2, full_attention({"--cp-scheme", "zigzag"})),
       "gca pretrain: error: --cp-scheme: is only used with --context-parallel; leave it out\n"},
      {launched(4, full_attention({"--context-parallel", "4", "--cp-scheme", "zigzag"})),
       "gca pretrain: error: --context-parallel 4: a context of 60 cannot be cut into 8 equal slices; use "
       "one of 56, or another --context-parallel\n"},
      {launched(
           2, full_attention({"--context-parallel", "2", "--cp-scheme", "ring", "--set", "position=alibi"})),
       "gca pretrain: error: --cp-scheme: blocks that go round a ring know rotary positions only, and "
       "position is alibi; use --cp-scheme gather\n"},
      {launched(2, rank_run(folder / "run")),
       "gca pretrain: error: --steps: missing; say how long to train: --steps N, --tokens N or "
       "--minutes M\n"},
      {launched(2, {"chunk", "--tokens", "none"}),
       "gca launch: error: chunk: does not share its work among ranks; launch one of pretrain, "
       "eval, tokenize, "
       "memory\n"}};
  for (const auto& one : cases) {
    const ProcessResult result = run_gca(one.words);
    CHECK(result.status == 2);
    CHECK(result.err.ends_with(one.message));
    CHECK(count_of(result.err, "error:") == 1);
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  }
}

TEST_CASE("launch: what fails on one rank within a run is told by it alone") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run/metrics.jsonl");  // rank 0 cannot write it
  const ProcessResult result = run_gca(launched(3, rank_run(folder / "run", {"--steps", "20"})));
  CAPTURE(result.err);
  CHECK(result.status == 2);
  CHECK(result.err.find("gca pretrain: error: " + folder / "run/metrics.jsonl") != std::string::npos);
  CHECK(count_of(result.err, "error:") == 1);
}

TEST_CASE("launch: --device cuda without a GPU is one line, whatever the command") {
  if (dlopen("libcuda.so.1", RTLD_LAZY) != nullptr) SKIP_TEST("there is an NVIDIA driver");
  const NanoRun run;
  const std::vector<std::string> cases[] = {
      tiny_run(run / "none", {"--batch", "4", "--steps", "2", "--device", "cuda"}),
      {"eval", "--checkpoint", run.checkpoint(), "--data", run.sequences(), "--context", "64", "--device",
       "cuda"},
      {"memory", "build", run.book(), "--checkpoint", run.checkpoint(), "--output", run / "none", "--device",
       "cuda"}};
  for (const std::vector<std::string>& words : cases) {
    const ProcessResult result = run_gca(launched(2, words));
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(result.err.starts_with("gca " + words.front() +
                                 ": error: --device cuda: there is no NVIDIA driver on this machine ("));
    CHECK(count_of(result.err, "\n") == 1);
    CHECK_FALSE(std::filesystem::exists(run / "none"));
  }
}

TEST_CASE("launch: ranks that were started to do different things do nothing") {
  const TemporaryFolder folder;
  const auto rank = [&](int number, const std::string& steps) {
    std::vector<std::string> words = gca_words(rank_run(folder / "run", {"--steps", steps}));
    const std::string port = std::to_string(20000 + getpid() % 12000);
    words.insert(words.begin(), {"env", "RANK=" + std::to_string(number), "WORLD_SIZE=2",
                                 "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port});
    return words;
  };
  RunningProcess first(rank(0, "20"));
  RunningProcess second(rank(1, "21"));
  const ProcessResult zero = first.wait();
  const ProcessResult one = second.wait();
  CHECK(zero.status == 2);
  CHECK(one.status == 2);
  CHECK(zero.err ==
        "gca pretrain: error: rank 1: its configuration differs from that of rank 0; start every rank with "
        "the same program, "
        "command line and files\n");
  CHECK(one.err.empty());
  CHECK_FALSE(std::filesystem::exists(folder / "run/checkpoint"));
}

TEST_CASE("launch: a dry run tells what each rank needs") {
  const TemporaryFolder folder;
  const auto moments_of = [&](const ProcessResult& result) {
    REQUIRE_MESSAGE(result.status == 0, result.err);
    const nlohmann::json report = result.json();
    for (const auto& part : report["result"]["memory"])
      if (part["part"] == "moments") return part["bytes"].get<double>();
    return 0.0;
  };
  const std::vector<std::string> words = rank_run(folder / "run", {"--steps", "2", "--dry-run", "--json"});
  const ProcessResult one = run_gca(words);
  const ProcessResult two = run_gca(launched(2, words));
  CHECK(moments_of(one) == 8 * one.json()["result"]["parameters"].get<double>());
  CHECK(moments_of(two) == moments_of(one) / 2);
  CHECK(two.json()["result"]["ranks"] == 2);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("launch: a rank that hangs is given up after --timeout, by all others" *
          doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  RunningProcess run(gca_words(launched(3, rank_run(folder / "run", {"--steps", "1000000", "--timeout", "3",
                                                                     "--set", "checkpoint_interval=3"}))));
  REQUIRE(run.wait_until([&] { return last_step(folder / "run") >= 4; }));
  const pid_t victim = process_of_rank(folder / "run", 1);
  REQUIRE(victim > 0);
  const auto start = Clock::now();
  kill(victim, SIGSTOP);
  REQUIRE(run.wait_until([&] {  // which launch ends only after the others
    return process_of_rank(folder / "run", 0) < 0 && process_of_rank(folder / "run", 2) < 0;
  }));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  CHECK(seconds > 2.9);
  CHECK(seconds < 10.0);
  const ProcessResult result = run.wait();
  CHECK(result.status == 1);
  CHECK(std::regex_search(
      result.err,
      std::regex("gca pretrain: error: rank [02]: step \\d+.*rank 1 was lost while exchanging ")));
  CHECK(count_of(result.err, " error: ") == 1);
  CHECK(saved_step(folder / "run") % 3 == 0);
  CHECK(run_gca({"pretrain", "--resume", "--quiet", "--output", folder / "run", "--stop-at",
                 std::to_string(saved_step(folder / "run") + 1)})
            .status == 0);
}

TEST_CASE("launch: ranks train on a text that one process has no memory for" * doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  gca::write_file_atomically(folder / "book.txt", NanoRun::pages(0, 1800));
  NanoRun::must_run({"tokenize", folder / "book.txt", "--output", folder / "tokens", "--train-vocab", "400"});
  NanoRun::must_run({"chunk", "--tokens", folder / "tokens", "--output", folder / "text", "--chunk-size",
                     "64", "--context", "16K", "--valid-fraction", "0"});
  // The memory that a process may ask for (not what it maps of files), inherited by all ranks. The largest VmData of
  // /proc/PID/status is 940 MiB in one process and 400 MiB in each of four ranks; the limit is midway.
  constexpr int64_t kMost = int64_t{670} << 20;
  const auto limited = [&](std::vector<std::string> words, const std::string& output) {
    words.insert(words.end(),
                 {"pretrain", "--data", folder / "text", "--config", "nano", "--batch", "1", "--steps", "2",
                  "--threads", "1", "--dtype", "fp32", "--quiet", "--output", folder / output});
    for (const char* setting : {"context=16K", "chunk_size=64", "sliding_window=64", "num_lower_layers=4",
                                "num_upper_layers=4", "eval_sequences=1"})
      words.insert(words.end(), {"--set", setting});
    return words;
  };
  const auto run_limited = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all = gca_words(words);
    all.insert(all.begin(), {"prlimit", "--data=" + std::to_string(kMost)});
    return run_program(all);
  };
  const ProcessResult one = run_limited(limited({}, "one"));
  CHECK(one.status == 1);
  CHECK(one.err == "gca pretrain: error: out of memory\n");
  std::vector<std::string> shared = limited(launched(4, {}), "four");
  shared.insert(shared.end(), {"--context-parallel", "4"});
  const ProcessResult four = run_limited(shared);
  CHECK_MESSAGE(four.status == 0, four.err);
  CHECK(saved_step(folder / "four") == 2);
}
