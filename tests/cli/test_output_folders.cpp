// Folders that several processes write, that cannot be exchanged, on file systems without locks; results that can
// go nowhere; closed standard streams. Through the binary.

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "tests/cli/nano_run.h"
#include "tests/support/run_gca.h"
#include "tests/support/skip.h"

namespace fs = std::filesystem;

namespace {

using Words = std::vector<std::string>;

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A shell that runs gca as "$@" between what `script` says.
ProcessResult in_shell(const std::string& script, const Words& words) {
  return run_program(with({"bash", "-c", script, "bash"}, gca_words(words)));
}

/// The command with a system call that fails (tests/support/fault_shim.cpp).
ProcessResult with_fault(const std::string& fault, const Words& words) {
  return run_program(
      with({"env", std::string("LD_PRELOAD=") + GCA_FAULT_SHIM, "GCA_FAULT=" + fault, "GCA_FAULT_UNDER=/"},
           gca_words(words)));
}

void check_done(const ProcessResult& result) {
  CAPTURE(result.err);
  CHECK(result.status == 0);
}

/// Names that begin with that of `path`, beside it.
int entries_beside(const std::string& path) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path()))
    count += entry.path().filename().string().starts_with(fs::path(path).filename().string()) ? 1 : 0;
  return count;
}

/// Every command that writes a folder, without "--output" or the like and its value at the end.
struct FolderWriter {
  std::string name;
  Words words;  ///< of its command line, which the folder ends
};

std::vector<FolderWriter> folder_writers(const NanoRun& run) {
  return {
      {"tokenize", {"tokenize", run.book(), "--tokenizer", run.tokens(), "--quiet", "--output"}},
      {"chunk", {"chunk", "--tokens", run.tokens(), "--context", "128", "--quiet", "--output"}},
      {"memory build",
       {"memory", "build", run.book(), "--checkpoint", run.checkpoint(), "--quiet", "--output"}},
      {"memory join", {"memory", "join", run / "library", run / "library", "--quiet", "--output"}},
      {"generate",
       {"generate", "--checkpoint", run.checkpoint(), "--prompt", "On day 7", "--max-new-tokens", "2",
        "--quiet", "--save-memory"}},
      {"pretrain",
       {"pretrain", "--data", run.sequences(), "--config", "nano", "--steps", "1", "--batch", "1", "--quiet",
        "--set", "context=256", "--overwrite", "--output"}},
  };
}

void build_library(const NanoRun& run) {
  NanoRun::must_run({"memory", "build", run.book(), "--checkpoint", run.checkpoint(), "--quiet", "--output",
                     run / "library"});
}

}  // namespace

TEST_CASE("of several that write one folder at once, each is done or told who is writing") {
  const NanoRun run;
  const std::string output = run / "out";
  for (const std::string flag : {"--tokenizer", "--train-vocab"}) {
    CAPTURE(flag);
    std::vector<std::unique_ptr<RunningProcess>> tasks;
    for (int i = 0; i < 4; ++i)
      tasks.push_back(std::make_unique<RunningProcess>(
          gca_words({"tokenize", run.book(), flag, flag == "--tokenizer" ? run.tokens() : "330", "--output",
                     output, "--threads", "1", "--quiet"})));
    int done = 0;
    for (const auto& task : tasks) {
      const ProcessResult result = task->wait();
      CAPTURE(result.err);
      done += result.status == 0 ? 1 : 0;
      if (result.status == 0) continue;
      CHECK(result.status == 2);
      CHECK(result.err.find(output + ": is being written by ") != std::string::npos);
    }
    CHECK(done >= 1);
    CHECK(entries_beside(output) == 1);
    CHECK(fs::exists(output + "/report.json"));
    CHECK(run_gca({"tokenize", "--decode", output}).out == gca::read_file(run.book()));
  }
}

TEST_CASE("a second writer is refused before its work while the first is at work, by name") {
  const NanoRun run;
  build_library(run);
  const std::string output = run / "out";
  // The first writer waits for a text that does not come.
  const std::string pipe = run / "pipe";
  REQUIRE(run_program({"mkfifo", pipe}).status == 0);
  RunningProcess first(gca_words({"tokenize", pipe, "--tokenizer", run.tokens(), "--output", output}));
  REQUIRE(first.wait_until([&] { return fs::exists(output + ".tmp-lock"); }));
  for (const FolderWriter& writer : folder_writers(run)) {
    CAPTURE(writer.name);
    const ProcessResult second = run_gca(with(writer.words, {output}));
    CAPTURE(second.err);
    CHECK(second.status == 2);
    CHECK(second.err.find(output + ": is being written by process ") != std::string::npos);
    CHECK_FALSE(fs::exists(output));
  }
  first.send_signal(SIGKILL);
  first.wait();
  check_done(run_gca(with(folder_writers(run).front().words, {output})));
  CHECK(entries_beside(output) == 1);
}

TEST_CASE("a signal before anything is written leaves nothing") {
  const NanoRun run;
  const std::string output = run / "out", pipe = run / "pipe";
  REQUIRE(run_program({"mkfifo", pipe}).status == 0);
  for (const int signal_number : {SIGINT, SIGTERM}) {
    // The output is locked while the model, which never comes, is waited for.
    RunningProcess process(gca_words({"tokenize", run.book(), "--tokenizer", pipe, "--output", output}));
    REQUIRE(process.wait_until([&] { return fs::exists(output + ".tmp-lock"); }));
    process.send_signal(signal_number);
    CHECK(process.wait().status == 128 + signal_number);
    CHECK(entries_beside(output) == 0);
  }
}

TEST_CASE("what a killed process of another container left goes at the next save") {
  const NanoRun run;
  const std::string leftover = run.checkpoint() + ".tmp-1-0";
  fs::create_directory(leftover);
  std::ofstream(leftover + "/model.safetensors") << std::string(1000, 'x');
  check_done(run_gca({"pretrain", "--resume", "--steps", "3", "--quiet", "--data", run.sequences(),
                      "--output", run / "run"}));
  CHECK_FALSE(fs::exists(leftover));
  CHECK(entries_beside(run.checkpoint()) == 1);
}

TEST_CASE("a volume that is mounted where the output goes is written, twice") {
  const NanoRun run;
  build_library(run);
  const std::string volume = run / "volume";
  for (const FolderWriter& writer : folder_writers(run)) {
    CAPTURE(writer.name);
    fs::create_directory(volume);
    if (mount("tmpfs", volume.c_str(), "tmpfs", 0, "size=50m") != 0) SKIP_TEST("this sandbox mounts nothing");
    fs::create_directory(volume + "/lost+found");
    check_done(run_gca(with(writer.words, {volume})));
    check_done(run_gca(with(writer.words, {volume})));
    CHECK(fs::exists(volume + "/lost+found"));
    int temporaries = 0;
    for (const auto& entry : fs::directory_iterator(volume))
      temporaries += entry.path().filename().string().starts_with(".tmp-") ? 1 : 0;
    CHECK(temporaries == 0);
    if (writer.name == "tokenize")
      CHECK(run_gca({"tokenize", "--decode", volume}).out == gca::read_file(run.book()));
    umount(volume.c_str());
    fs::remove(volume);
  }
}

TEST_CASE("where folders cannot be exchanged, the first version and the second are written") {
  const NanoRun run;
  build_library(run);
  const std::string output = run / "out";
  for (const FolderWriter& writer : folder_writers(run)) {
    CAPTURE(writer.name);
    for (int version = 0; version < 2; ++version)
      check_done(with_fault("exchange:EINVAL:1+", with(writer.words, {output})));
    CHECK(entries_beside(output) == 1);
    fs::remove_all(output);
  }
}

TEST_CASE("where a file system has no locks, one line warns and the work is done") {
  const NanoRun run;
  build_library(run);
  const std::string output = run / "out";
  for (const FolderWriter& writer : folder_writers(run)) {
    CAPTURE(writer.name);
    const ProcessResult result = with_fault("flock:ENOSYS:1+", with(writer.words, {output}));
    check_done(result);
    CHECK(result.err.find("gca: warning: ") == result.err.rfind("gca: warning: "));
    CHECK(result.err.find("its file system has no locks") != std::string::npos);
    CHECK(entries_beside(output) == 1);
    fs::remove_all(output);
  }
}

TEST_CASE("results that can go nowhere are refused before the work") {
  const NanoRun run;
  build_library(run);
  const std::string nowhere = run / "results/today/x";
  const Words eval = {"eval", "--checkpoint", run.checkpoint(), run.book(), "--context", "64"};
  const Words prompt = {"--checkpoint", run.checkpoint(), "--prompt", "On day 7 the keeper of lamp 433"};
  std::vector<std::pair<std::string, Words>> cases = {
      {"--report", with(eval, {"--report", nowhere})},
      {"--memory", with(eval, {"--memory", "file:" + nowhere})},
      {"--report",
       {"tokenize", run.book(), "--tokenizer", run.tokens(), "--output", run / "out", "--report", nowhere}},
      {"--report", {"chunk", "--tokens", run.tokens(), "--output", run / "out", "--report", nowhere}},
      {"--report", {"memory", "info", run / "library", "--report", nowhere}},
      {"--html", {"report", run / "run", "--html", nowhere}},
      {"--csv", {"report", run / "run", "--csv", nowhere}},
      {"--html", with(with({"inspect-retrieval"}, prompt), {"--html", nowhere})},
      {"--report", with(with({"generate"}, prompt), {"--report", nowhere})},
      {"--report", {"bench", "--config", "nano", "--report", nowhere}},
  };
  for (const auto& pair : cases) {
    const auto& flag = pair.first;
    const auto& words = pair.second;
    CAPTURE(words.front());
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find("error: " + flag) != std::string::npos);
    CHECK(result.err.find("No such file or directory") != std::string::npos);
    CHECK(result.out == "");
    CHECK_FALSE(fs::exists(run / "out"));
  }
  // A folder below a file can never be made.
  for (const FolderWriter& writer : folder_writers(run)) {
    CAPTURE(writer.name);
    const ProcessResult result = run_gca(with(writer.words, {run.book() + "/out"}));
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find("Not a directory") != std::string::npos);
  }
}

TEST_CASE("the table is printed whatever happens to the report") {
  const NanoRun run;
  const Words eval = {"eval",      "--checkpoint", run.checkpoint(), run.book(),
                      "--context", "64",           "--max-tokens",   "256"};
  for (const std::string format : {"table", "json"}) {
    const Words words = format == "json" ? with(eval, {"--json"}) : eval;
    const ProcessResult result = run_gca(with(words, {"--report", "/dev/full"}));
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(result.err.find("/dev/full: cannot write: No space left on device") != std::string::npos);
    if (format == "json")
      CHECK(result.json()["result"]["contexts"].size() == 1);
    else
      CHECK(result.out.find("loss at position") != std::string::npos);
  }
  const ProcessResult page = run_gca({"report", run / "run", "--html", "/dev/full"});
  CHECK(page.status == 1);
  CHECK(page.out.find("run") != std::string::npos);
}

TEST_CASE("closed standard streams reach no file of the program") {
  const NanoRun run;
  const Words pretrain = {"pretrain",        "--data", run.sequences(), "--config", "nano",
                          "--steps",         "4",      "--batch",       "2",        "--set",
                          "eval_interval=2", "--set",  "context=256",   "--output", run / "closed"};
  CHECK(in_shell("exec \"$@\" <&- >&- 2>&-", pretrain).status == 0);
  std::istringstream metrics(gca::read_file(run / "closed/metrics.jsonl"));
  int lines = 0;
  for (std::string line; std::getline(metrics, line); ++lines) {
    CAPTURE(line);
    CHECK(nlohmann::json::accept(line));
  }
  CHECK(lines == 4 + 3);  // the steps, and the validations at 0, 2 and 4
  check_done(run_gca({"eval", "--checkpoint", run / "closed/checkpoint", run.book(), "--context", "64",
                      "--max-tokens", "256"}));

  CHECK(in_shell("exec \"$@\" >&-", {"generate", "--checkpoint", run.checkpoint(), "--prompt",
                                     NanoRun::pages(0, 4), "--max-new-tokens", "8", "--save-memory",
                                     run / "session", "--memory", "file:" + (run / "scratch")})
            .status == 0);
  check_done(run_gca({"generate", "--checkpoint", run.checkpoint(), "--load-memory", run / "session",
                      "--prompt", "On", "--max-new-tokens", "2"}));

  for (const std::string script : {"exec \"$@\" >&-", "exec \"$@\" 2>&-", "exec \"$@\" <&- >&- 2>&-"}) {
    CHECK(in_shell(script, {"tokenize", run.book(), "--tokenizer", run.tokens(), "--output", run / "out"})
              .status == 0);
    CHECK(run_gca({"tokenize", "--decode", run / "out"}).out == gca::read_file(run.book()));
  }
}
