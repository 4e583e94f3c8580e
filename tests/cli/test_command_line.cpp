// What every subcommand does alike: help, version, exit statuses, one line for an error, standard output.

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/cli/tokenized_books.h"
#include "tests/support/run_gca.h"

namespace {

const std::vector<std::string> kSubcommands = {"tokenize",          "chunk",  "pretrain", "eval",  "generate",
                                               "inspect-retrieval", "memory", "bench",    "report"};

/// Wrong usage: status 2, nothing on standard output, one line that begins with the command and holds `words`.
void check_refused(const std::vector<std::string>& arguments, const std::string& command,
                   const std::string& words) {
  const ProcessResult result = run_gca(arguments);
  CAPTURE(result.err);
  CHECK(result.status == 2);
  CHECK(result.out == "");
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.starts_with(command + ": error: "));
  CHECK(result.err.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("help and version are results: standard output, status 0") {
  CHECK(run_gca({"--version"}).out.starts_with("gca "));
  const ProcessResult general = run_gca({"--help"});
  CHECK(general.status == 0);
  CHECK(general.err == "");
  CHECK(run_gca({"help"}).out == general.out);
  for (const std::string& name : kSubcommands) {
    CAPTURE(name);
    CHECK(general.out.find("  " + name) != std::string::npos);
    const ProcessResult help = run_gca({name, "--help"});
    CHECK(help.status == 0);
    for (const char* flag : {"--report", "--json", "--quiet", "--threads", "--seed"})
      CHECK(help.out.find(flag) != std::string::npos);
    const ProcessResult helped = run_gca({"help", name});
    CHECK(helped.status == 0);
    CHECK(helped.out.find("--seed") != std::string::npos);
  }
}

TEST_CASE("help fits into a terminal of 80 columns and says what excludes what") {
  for (const std::string& name : kSubcommands) {
    const std::string help = run_gca({"help", name}).out;
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
      CAPTURE(line);
      CHECK(line.size() <= 80);
      CHECK(line.find('{') == std::string::npos);  // CLI11's own notation of choices
    }
    CHECK(help.find("\n\n\n") == std::string::npos);
  }
  const std::string help = run_gca({"pretrain", "--help"}).out;
  CHECK(help.find("\n  -h, --help ") != std::string::npos);
  CHECK(help.find("\n  --config PRESET|FILE ") != std::string::npos);
  CHECK(help.find("not with --resume") != std::string::npos);
  CHECK(run_gca({"eval", "--help"}).out.find("required") != std::string::npos);
}

TEST_CASE("wrong usage is status 2 and one line that says what would be right") {
  check_refused({}, "gca", "gca --help");
  check_refused({"tokenise"}, "gca", "did you mean tokenize?");
  check_refused({"help", "chunks"}, "gca help", "did you mean chunk?");
  check_refused({"tokenize", "--outptu", "x"}, "gca tokenize",
                "--outptu: no such flag; did you mean --output?");
  check_refused({"pretrain", "--bach=3"}, "gca pretrain", "--bach: no such flag; did you mean --batch?");
  check_refused({"pretrain", "-z"}, "gca pretrain", "-z: no such flag; see gca pretrain --help");
  check_refused({"pretrain", "--resume", "run"}, "gca pretrain", "'run': not expected here");
  check_refused({"chunk", "--tokens", "x"}, "gca chunk", "--output is required");
  check_refused({"chunk", "--tokens", "x", "--output", "y", "--context", "12Q"}, "gca chunk",
                "--context: '12Q'");
  check_refused({"chunk", "--tokens", "x", "--output", "y", "--seed", "a"}, "gca chunk", "--seed");
  check_refused({"chunk", "--tokens", "x", "--output", "y", "--threads", "0"}, "gca chunk", "--threads");
  check_refused({"chunk", "--tokens", "/no/such", "--output", "y"}, "gca chunk", "/no/such/index.json");
  check_refused({"tokenize", "/no/such", "--output", "y", "--train-vocab", "1K"}, "gca tokenize", "/no/such");
  check_refused({"tokenize"}, "gca tokenize", "INPUT");
}

TEST_CASE("a full disk behind standard output is a failure, a reader that leaves is not") {
  const TokenizedBooks books;
  const ProcessResult full =
      RunningProcess(gca_words({"tokenize", "--decode", books.tokens()}), "", "/dev/full").wait();
  CHECK(full.status == 1);
  CHECK(full.err.find("standard output") != std::string::npos);

  const std::string pipeline = "(\"$0\" tokenize --decode \"$1\"; echo $? >\"$2\") | head -c 1";
  const ProcessResult piped =
      run_program({"sh", "-c", pipeline, GCA_BINARY, books.tokens(), books / "status"});
  CHECK(piped.out == books.texts()[0].substr(0, 1));
  CHECK(piped.err == "");
  CHECK(gca::read_file(books / "status") == "0\n");
}

TEST_CASE("an interrupt ends with 130 and leaves nothing behind") {
  const TokenizedBooks books;
  const TemporaryFolder folder;
  const std::string pipe = books / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  RunningProcess process(
      gca_words({"tokenize", pipe, "--output", folder / "tokens", "--tokenizer", books.model()}));
  // Its lock file comes before the signal handler, its folder after it; then it waits for the pipe.
  REQUIRE(process.wait_until([&] {
    const std::filesystem::directory_iterator entries(folder.path());
    return std::any_of(begin(entries), end(entries), [](const auto& entry) { return entry.is_directory(); });
  }));
  process.send_signal(SIGINT);
  const ProcessResult result = process.wait();
  CHECK(result.status == 130);
  CHECK(result.err == "gca tokenize: error: interrupted\n");
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE(
    "gca alone answers help and refuses wrong usage, what needs tensors says that gca-tensor is missing") {
  const TemporaryFolder folder;
  const std::string alone = folder / "gca";
  std::filesystem::copy_file(GCA_BINARY, alone);
  CHECK(run_program({alone, "generate", "--help"}).out == run_gca({"generate", "--help"}).out);
  CHECK(run_program({alone, "bench", "--mode", "x"}).status == 2);
  const ProcessResult result = run_program({alone, "generate", "--checkpoint", "x", "--prompt", "y"});
  CHECK(result.status == 1);
  CHECK(result.out == "");
  CHECK(result.err.starts_with("gca generate: error: " + (folder / "gca-tensor") + ": is missing"));

  std::filesystem::create_directories(folder / "bin");
  std::filesystem::create_directories(folder / "libexec/gca");
  std::filesystem::copy_file(GCA_BINARY, folder / "bin/gca");
  std::filesystem::create_symlink(std::string(GCA_BINARY) + "-tensor", folder / "libexec/gca/gca-tensor");
  const ProcessResult installed =
      run_program({folder / "bin/gca", "generate", "--checkpoint", "/no/such", "--prompt", "y"});
  CHECK(installed.status == 2);
  CHECK(installed.err.find("/no/such") != std::string::npos);
}

TEST_CASE("the allocator of gca-tensor is asked for huge pages, beside what the user asks of it") {
  const TemporaryFolder folder;
  const std::string alone = folder / "gca", tensor = folder / "gca-tensor";
  std::filesystem::copy_file(GCA_BINARY, alone);
  std::ofstream(tensor) << "#!/bin/sh\necho \"$GLIBC_TUNABLES\"\n";
  std::filesystem::permissions(tensor, std::filesystem::perms::owner_all);
  const auto seen_with = [&](const std::string& tunables) {
    std::vector<std::string> words = {"/usr/bin/env"};
    if (tunables.empty()) {
      words.insert(words.end(), {"-u", "GLIBC_TUNABLES"});
    } else {
      words.push_back("GLIBC_TUNABLES=" + tunables);
    }
    words.insert(words.end(), {alone, "generate", "--checkpoint", "x", "--prompt", "y"});
    return run_program(words).out;
  };
  CHECK(seen_with("") == "glibc.malloc.hugetlb=1\n");
  CHECK(seen_with("glibc.malloc.check=0") == "glibc.malloc.check=0:glibc.malloc.hugetlb=1\n");
  CHECK(seen_with("glibc.malloc.hugetlb=0") == "glibc.malloc.hugetlb=0\n");
}
