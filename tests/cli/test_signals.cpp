// What signals do to each command that runs long: which end it, which are a request to save.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/cli/nano_run.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/run_gca.h"

namespace {

constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR2, SIGXCPU};

/// The step of the last complete line of metrics.jsonl; -1 before there is one.
int64_t last_logged_step(const std::string& output) {
  std::ifstream metrics(output + "/metrics.jsonl");
  int64_t step = -1;
  for (std::string line; std::getline(metrics, line);)
    if (const auto entry = nlohmann::json::parse(line, nullptr, false); entry.is_object())
      step = entry["step"];
  return step;
}

std::vector<std::string> endless_run(const std::string& output) {
  return tiny_run(output, {"--steps", "1000000", "--quiet"});
}

/// A pipe that a command waits for as its input.
class InputPipe {
 public:
  explicit InputPipe(const std::string& path) : path_(path) { REQUIRE(mkfifo(path_.c_str(), 0600) == 0); }
  ~InputPipe() {
    if (writer_ >= 0) close(writer_);
  }
  /// Once the command has opened it.
  bool is_open() {
    if (writer_ < 0) writer_ = open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return writer_ >= 0;
  }
  void give(const std::string& text) {
    REQUIRE(write(writer_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    close(writer_);
    writer_ = -1;
  }

 private:
  std::string path_;
  int writer_ = -1;
};

}  // namespace

TEST_CASE("pretrain: every ending signal saves the last step and ends with 130, repeated or not") {
  for (const int signal_number : kEndingSignals) {
    CAPTURE(signal_number);
    const TemporaryFolder folder;
    RunningProcess run(gca_words(endless_run(folder / "run")));
    REQUIRE(run.wait_until([&] { return last_logged_step(folder / "run") >= 3; }));
    run.send_signal(signal_number);
    if (signal_number != SIGINT && signal_number != SIGTERM) run.send_signal(signal_number);
    CHECK(run.wait().status == 130);
    CHECK(saved_step(folder / "run") >= 3);
    CHECK(saved_step(folder / "run") == last_logged_step(folder / "run"));
  }
}

TEST_CASE("pretrain: SIGUSR1 saves and goes on, and changes no bit") {
  const TemporaryFolder folder;
  RunningProcess run(gca_words(endless_run(folder / "run")));
  REQUIRE(run.wait_until([&] { return run.minds_signal(SIGUSR1); }));
  run.send_signal(SIGUSR1);  // before there is anything to save
  REQUIRE(run.wait_until([&] { return last_logged_step(folder / "run") >= 2; }));
  const int64_t before = saved_step(folder / "run");
  run.send_signal(SIGUSR1);
  REQUIRE(run.wait_until([&] { return saved_step(folder / "run") > before; }));
  const int64_t saved = saved_step(folder / "run");
  REQUIRE(run.wait_until([&] { return last_logged_step(folder / "run") > saved; }));
  run.send_signal(SIGTERM);
  CHECK(run.wait().status == 130);
  const int64_t last = saved_step(folder / "run");
  REQUIRE(run_gca(tiny_run(folder / "straight",
                           {"--steps", "1000000", "--stop-at", std::to_string(last), "--quiet"}))
              .status == 0);
  CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / "run"));
}

TEST_CASE("pretrain: under nohup a hang-up ends nothing") {
  const TemporaryFolder folder;
  std::vector<std::string> words = gca_words(endless_run(folder / "run"));
  words.insert(words.begin(), {"env", "--ignore-signal=HUP"});
  RunningProcess run(words);
  REQUIRE(run.wait_until([&] { return last_logged_step(folder / "run") >= 1; }));
  run.send_signal(SIGHUP);
  const int64_t step = last_logged_step(folder / "run");
  CHECK(run.wait_until([&] { return last_logged_step(folder / "run") >= step + 5; }));
}

TEST_CASE(
    "Signals that end tokenize, eval and memory build leave nothing half-written, and SIGUSR1 ends none") {
  const NanoRun run;
  const struct {
    const char* name;
    std::vector<std::string> words;
  } commands[] = {
      {"tokenize", {"tokenize", "PIPE", "--tokenizer", run.tokens() + "/tokenizer.model", "--output", "OUT"}},
      {"eval", {"eval", "PIPE", "--checkpoint", run.checkpoint(), "--context", "64", "--report", "OUT"}},
      {"memory", {"memory", "build", "PIPE", "--checkpoint", run.checkpoint(), "--output", "OUT"}}};
  for (const auto& command : commands) {
    CAPTURE(command.name);
    const auto start = [&](const TemporaryFolder& folder) {
      std::vector<std::string> words = command.words;
      for (std::string& word : words) {
        if (word == "PIPE") word = folder / "pipe";
        if (word == "OUT") word = folder / "out";
      }
      return gca_words(words);
    };
    for (const int signal_number : {SIGUSR2, SIGHUP, SIGQUIT, SIGXCPU}) {
      CAPTURE(signal_number);
      const TemporaryFolder folder;
      InputPipe pipe(folder / "pipe");
      RunningProcess process(start(folder));
      REQUIRE(process.wait_until([&] { return pipe.is_open(); }));
      process.send_signal(signal_number);
      CHECK(process.wait().status == 130);
      std::filesystem::remove(folder / "pipe");
      CHECK(std::filesystem::is_empty(folder.path()));
    }
    const TemporaryFolder folder;
    InputPipe pipe(folder / "pipe");
    RunningProcess process(start(folder));
    REQUIRE(process.wait_until([&] { return process.minds_signal(SIGUSR1); }));
    process.send_signal(SIGUSR1);  // perhaps before it has become gca-tensor
    REQUIRE(process.wait_until([&] { return pipe.is_open(); }));
    process.send_signal(SIGUSR1);
    pipe.give(NanoRun::pages(0, 20));
    const ProcessResult result = process.wait();
    CHECK_MESSAGE(result.status == 0, result.err);
    CHECK(std::filesystem::exists(folder / "out"));
  }
}
