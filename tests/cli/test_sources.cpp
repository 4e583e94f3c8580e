// The same documents from every kind of source, through the binary: plain files, JSON lines, compressed,
// piped.

#include <doctest/doctest.h>

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/cli/nano_run.h"
#include "tests/cli/tokenized_books.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

namespace {

using Words = std::vector<std::string>;

/// Python's own json, gzip and the program zstd make one corpus in several forms of the pages of a
/// TokenizedBooks.
constexpr const char* kMakeCorpora = R"(
import gzip, json, pathlib, subprocess, sys
folder, pages = pathlib.Path(sys.argv[1]), sys.argv[2:]
texts = [open(page, newline='').read() for page in pages]
lines = ''.join(json.dumps({'id': i, 'text': text}, ensure_ascii=i % 2 == 0) + '\n' for i, text in enumerate(texts))
(folder / 'pages.jsonl').write_text(lines)
(folder / 'crlf.jsonl').write_text('\n' + lines.rstrip('\n').replace('\n', '\r\n'), newline='')
(folder / 'pages.jsonl.gz').write_bytes(gzip.compress(lines[:40000].encode()) + gzip.compress(lines[40000:].encode()))
for kind in 'zst', 'gz', 'txt':
    (folder / kind).mkdir()
subprocess.run(['zstd', '-q', folder / 'pages.jsonl'], check=True)
for page, text in zip(pages, texts):
    name = pathlib.Path(page).name
    (folder / 'txt' / name).write_text(text, newline='')
    (folder / 'gz' / (name + '.gz')).write_bytes(gzip.compress(text.encode()))
    subprocess.run(['zstd', '-q', page, '-o', folder / 'zst' / (name + '.zst')], check=True)
)";

struct Corpora : TokenizedBooks {
  Corpora() {
    Words words = {"python3", "-c", kMakeCorpora, *this / ""};
    words.insert(words.end(), names().begin(), names().end());
    const ProcessResult made = run_program(words);
    INFO(made.err);
    REQUIRE(made.status == 0);
  }
};

ProcessResult must_run(const Words& words, const std::string& input = "") {
  const ProcessResult result = run_gca(words, input);
  INFO(result.err);
  REQUIRE(result.status == 0);
  return result;
}

/// One line on standard error that says `message`; status 2.
void check_refused(const Words& words, const std::string& message, const std::string& input = "") {
  const ProcessResult result = run_gca(words, input);
  CAPTURE(result.err);
  CHECK(result.status == 2);
  CHECK(result.err.starts_with("gca " + words.front() + ": error: "));
  CHECK(result.err.find(message) != std::string::npos);
}

/// Largest resident set of gca with these words, in bytes.
int64_t peak_memory_bytes(const Words& words) {
  constexpr const char* kMeasure =
      "import resource, subprocess, sys\n"
      "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
      "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)";
  Words all = {"python3", "-c", kMeasure, GCA_BINARY};
  all.insert(all.end(), words.begin(), words.end());
  const ProcessResult result = run_program(all);
  INFO(result.err);
  REQUIRE(result.status == 0);
  return std::stoll(result.out);
}

}  // namespace

TEST_CASE("the same documents give the same tokens, whatever they come in") {
  const Corpora corpora;
  const auto ids = [&](const std::string& input, const std::string& standard_input = "") {
    return must_run({"tokenize", "--print-ids", "--tokenizer", corpora.model(), input}, standard_input).out;
  };
  const std::string expected = ids(corpora / "txt");
  REQUIRE(expected.size() > 100000);
  for (const char* name : {"gz", "zst", "pages.jsonl", "crlf.jsonl", "pages.jsonl.gz", "pages.jsonl.zst"}) {
    CAPTURE(name);
    CHECK((ids(corpora / name) == expected));
    if (std::string(name).starts_with("pages")) CHECK((ids("-", gca::read_file(corpora / name)) == expected));
  }
}

TEST_CASE("every source gives its bytes back, and the same vocabulary is trained on it") {
  const Corpora corpora;
  for (const char* name : {"txt", "gz", "pages.jsonl", "pages.jsonl.zst"}) {
    CAPTURE(name);
    const std::string output = corpora / "again";
    const nlohmann::json report =
        must_run({"tokenize", corpora / name, "--train-vocab", "600", "--output", output, "--json"}).json();
    CHECK(problems_of("tokenize", report) == "");
    CHECK(report["result"]["bytes"] == corpora.whole_text().size());
    CHECK(gca::read_file(output + "/tokenizer.model") == gca::read_file(corpora.model()));
    CHECK((must_run({"tokenize", "--decode", output}).out == corpora.whole_text()));
    const auto index = nlohmann::json::parse(gca::read_file(output + "/index.json"));
    REQUIRE(index["documents"].size() == 4);
    const std::string last = index["documents"][3]["name"];
    CHECK(last.find(std::string(name).starts_with("pages") ? ":4" : "page-3.txt") != std::string::npos);
  }
}

TEST_CASE("broken lines stop, or are left out and counted for each input") {
  const Corpora corpora;
  const std::string good = R"({"text": "On day 7"})"
                           "\n";
  gca::write_file_atomically(corpora / "a.jsonl", good + "{\"text\": 7}\n" + good);
  gca::write_file_atomically(corpora / "b.jsonl", good + "no\nno\n{\"text\": \"caf\xE9\"}\n");
  const Words words = {"tokenize",      corpora / "a.jsonl", corpora / "b.jsonl", "--tokenizer",
                       corpora.model(), "--output",          corpora / "lines"};
  check_refused(words, corpora / "a.jsonl:2: has a \"text\" that is not a string; name the key");
  CHECK_FALSE(std::filesystem::exists(corpora / "lines"));

  Words skipping = words;
  skipping.insert(skipping.end(), {"--skip-bad"});
  const std::string table = must_run(skipping).out;
  CHECK(table.find("4 broken lines skipped, the first " + (corpora / "a.jsonl:2: ")) != std::string::npos);
  const auto report = nlohmann::json::parse(gca::read_file(corpora / "lines/report.json"));
  CHECK(problems_of("tokenize", report) == "");
  CHECK(report["config"]["skip_bad"] == true);
  const nlohmann::json& sources = report["result"]["sources"];
  REQUIRE(sources.size() == 2);
  CHECK(sources[0]["input"] == corpora / "a.jsonl");
  CHECK(sources[0]["documents"] == 2);
  CHECK(sources[0]["bytes"] == 16);
  CHECK(sources[0]["skipped_lines"] == 1);
  CHECK(sources[1]["documents"] == 1);
  CHECK(sources[1]["skipped_lines"] == 3);
  CHECK(sources[1]["first_skipped_line"].get<std::string>().find("b.jsonl:2: is not valid JSON") !=
        std::string::npos);

  // The key, from standard input.
  const std::string other = R"({"body": "On day 7", "text": "no"})"
                            "\n";
  const Words ids = {"tokenize", "-", "--print-ids", "--tokenizer", corpora.model(), "--text-key", "body"};
  CHECK(must_run(ids, other).out ==
        must_run({"tokenize", "-", "--print-ids", "--tokenizer", corpora.model()}, "On day 7").out);
  check_refused({"tokenize", "-", "--print-ids", "--tokenizer", corpora.model()},
                "standard input:1: has no key \"text\"", "{\"body\": \"x\"}");
}

TEST_CASE("what is not text is refused by name before anything is written") {
  const Corpora corpora;
  const auto refused = [&](const std::string& input, const std::string& message) {
    check_refused({"tokenize", input, "--tokenizer", corpora.model(), "--output", corpora / "new"}, message);
    check_refused({"tokenize", input, "--train-vocab", "300", "--output", corpora / "new"}, message);
    CHECK_FALSE(std::filesystem::exists(corpora / "new"));
  };
  refused(corpora.tokens(), corpora.tokens() + ": holds gca.tokens/1 and no text");
  refused(corpora.tokens() + "/tokens-00000.bin", "tokens-00000.bin: is binary data and no text");
  gca::write_file_atomically(corpora / "latin.txt", "one\ncaf\xE9");
  refused(corpora / "latin.txt", "latin.txt:2: holds the byte 0xE9");
  gca::write_file_atomically(corpora / "wide.txt", std::string("\xFF\xFEo\0n\0", 6));
  refused(corpora / "wide.txt", "wide.txt: is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8");
  const std::string whole = gca::read_file(corpora / "pages.jsonl.gz");
  gca::write_file_atomically(corpora / "half.jsonl.gz", whole.substr(0, whole.size() / 2));
  refused(corpora / "half.jsonl.gz", "half.jsonl.gz: is a truncated gzip file");
  for (const Words& flags : {Words{"--input-format", "xml"}, Words{"--invalid-utf8", "guess"}}) {
    Words words = {"tokenize", corpora / "txt", "--print-ids", "--tokenizer", corpora.model()};
    words.insert(words.end(), flags.begin(), flags.end());
    check_refused(words, flags.front());
  }
  check_refused({"tokenize", "--decode", corpora.tokens(), "--skip-bad"},
                "--skip-bad: has no meaning with --decode");
}

TEST_CASE("a folder that the user may not read is left out, named and counted") {
  if (geteuid() != 0 || run_program({"setpriv", "--version"}).status != 0) {
    MESSAGE("only root can try this");
    return;
  }
  const Corpora corpora;
  std::filesystem::create_directory(corpora / "txt/lost+found");
  std::filesystem::permissions(corpora / "txt/lost+found", std::filesystem::perms::owner_all);
  std::filesystem::permissions(corpora / "", std::filesystem::perms(0755));
  std::filesystem::create_directory(corpora / "o");
  std::filesystem::permissions(corpora / "o", std::filesystem::perms(0777));
  const ProcessResult result =
      run_program({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", GCA_BINARY, "tokenize",
                   corpora / "txt", "--tokenizer", corpora.model(), "--output", corpora / "o/tk"});
  CAPTURE(result.err);
  CHECK(result.status == 0);
  CHECK(result.err ==
        "gca: warning: " + (corpora / "txt/lost+found") + ": cannot be read (Permission denied), left out\n");
  CHECK(result.out.find("1 file in folders skipped") != std::string::npos);
  CHECK(result.out.find("4 documents") != std::string::npos);
}

TEST_CASE("a file that is cut short while it is read leaves one line and no folder") {
  namespace fs = std::filesystem;
  const Corpora corpora;
  const std::string path = corpora / "big.txt";
  std::string text;
  while (text.size() < 64'000'000) text += corpora.whole_text();
  gca::write_file_atomically(path, text);
  // Tokens are written: the file is open and not read to its end.
  const auto writes = [&] {
    for (const auto& folder : fs::directory_iterator(corpora / "")) {
      if (!folder.path().filename().string().starts_with("new.tmp-")) continue;
      std::error_code gone;
      for (const auto& file : fs::directory_iterator(folder.path(), gone))
        if (file.file_size(gone) > 0 && !gone) return true;
    }
    return false;
  };
  RunningProcess process(gca_words(
      {"tokenize", path, "--tokenizer", corpora.model(), "--output", corpora / "new", "--threads", "1"}));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!writes() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  fs::resize_file(path, 1);
  const ProcessResult result = process.wait();
  CAPTURE(result.err);
  CHECK(result.status == 1);
  CHECK(result.err.find("big.txt: was cut short while it was read") != std::string::npos);
  for (const auto& entry : fs::directory_iterator(corpora / ""))
    CHECK_FALSE(entry.path().filename().string().starts_with("new"));
}

TEST_CASE("token shards that are cut short while they are read end in one line that names the file") {
  const Corpora corpora;
  std::string text;
  while (text.size() < 3'000'000) text += corpora.whole_text();
  gca::write_file_atomically(corpora / "big.txt", text);
  must_run({"tokenize", corpora / "big.txt", "--tokenizer", corpora.model(), "--output", corpora / "big"});
  const std::string shard = corpora / "big/tokens-00000.bin";
  // The pipe is full long before the shard is read.
  const ProcessResult result = run_program(
      {"bash", "-c",
       "\"$1\" tokenize --decode \"$2\" | { sleep 1; : > \"$3\"; cat > /dev/null; }; exit ${PIPESTATUS[0]}",
       "bash", GCA_BINARY, corpora / "big", shard});
  CHECK(result.status == 1);
  CHECK(result.err ==
        "gca: error: " + shard + ": was cut short while it was read; try again when nothing writes to it\n");
}

TEST_CASE("a file that gives its size as 0 is read to its end") {
  const Corpora corpora;
  const nlohmann::json report = must_run({"tokenize", "/proc/self/status", "--tokenizer", corpora.model(),
                                          "--output", corpora / "proc", "--json"})
                                    .json();
  CHECK(report["result"]["bytes"].get<int64_t>() > 100);
  CHECK(run_gca({"tokenize", "--decode", corpora / "proc"}).out.starts_with("Name:\tgca"));
}

TEST_CASE("memory does not grow with the size of a file of lines, plain or compressed") {
  const Corpora corpora;
  const std::string lines = gca::read_file(corpora / "pages.jsonl");
  const auto grown = [&](int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += lines;
    return all;
  };
  gca::write_file_atomically(corpora / "small.jsonl", grown(150));
  gca::write_file_atomically(corpora / "large.jsonl", grown(600));
  REQUIRE(
      run_program({"sh", "-c", "cd " + (corpora / "") + " && zstd -q -1 small.jsonl large.jsonl"}).status ==
      0);
  for (const std::string extension : {"", ".zst"}) {
    const auto peak = [&](const std::string& name) {
      return peak_memory_bytes({"tokenize", corpora / (name + ".jsonl" + extension), "--tokenizer",
                                corpora.model(), "--output", corpora / "out", "--threads", "1", "--quiet"});
    };
    const int64_t small = peak("small"), large = peak("large");
    CAPTURE(extension);
    CAPTURE(small);
    CHECK(large < small + 12'000'000);
  }
}

TEST_CASE("eval, memory build and prompts read the same documents from every source") {
  const NanoRun run;
  std::filesystem::create_directory(run / "plain");
  std::string lines = "broken\n";
  for (int page = 0; page < 3; ++page) {
    const std::string text = NanoRun::pages(100 * page, 12);
    gca::write_file_atomically(run / ("plain/" + std::to_string(page) + ".txt"), text);
    lines += nlohmann::json({{"body", text}}).dump() + "\n";
  }
  gca::write_file_atomically(run / "pages.jsonl", lines);
  gca::write_file_atomically(run / "prompt.txt", NanoRun::pages(0, 12));
  REQUIRE(run_program({"gzip", "-k", run / "pages.jsonl", run / "prompt.txt"}).status == 0);
  const Words flags = {"--text-key", "body", "--skip-bad"};
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };

  const auto evaluated = [&](const std::string& input, const Words& more) {
    const ProcessResult result = must_run(
        with({"eval", "--checkpoint", run.checkpoint(), input, "--context", "64", "--threads", "1", "--json"},
             more));
    nlohmann::json row = result.json()["result"];
    for (nlohmann::json& context : row["contexts"]) {
      context.erase("tokens_per_second");
      for (nlohmann::json& document : context["documents"]) document.erase("name");
    }
    return std::pair(row, result.err);
  };
  const auto [expected, no_remark] = evaluated(run / "plain", {});
  CHECK(expected["documents"] == 3);
  CHECK(no_remark == "");
  for (const char* name : {"pages.jsonl", "pages.jsonl.gz"}) {
    const auto [row, remark] = evaluated(run / name, flags);
    CHECK(row == expected);
    CHECK(remark.find("1 broken line skipped, the first " + (run / name) + ":1: is not valid JSON") !=
          std::string::npos);
  }
  check_refused({"eval", "--checkpoint", run.checkpoint(), "--data", run.tokens(), "--skip-bad"},
                "--skip-bad: has no meaning without INPUT");

  const auto library = [&](const std::string& input, const Words& more) {
    return must_run(with({"memory", "build", input, "--checkpoint", run.checkpoint(), "--output",
                          run / "library", "--threads", "1", "--json"},
                         more))
        .json()["result"];
  };
  const nlohmann::json plain = library(run / "plain", {});
  const nlohmann::json from_lines = library(run / "pages.jsonl.gz", flags);
  REQUIRE(from_lines["documents"].size() == 3);
  for (size_t page = 0; page < 3; ++page) {
    CHECK(from_lines["documents"][page]["tokens"] == plain["documents"][page]["tokens"]);
    CHECK(from_lines["documents"][page]["name"] == run / ("pages.jsonl.gz:" + std::to_string(page + 2)));
  }
  check_refused({"memory", "info", run / "library", "--text-key", "body"},
                "--text-key: has no meaning for info");

  const auto continued = [&](const std::string& prompt_file) {
    return must_run({"generate", "--checkpoint", run.checkpoint(), "--prompt-file", prompt_file,
                     "--temperature", "0", "--max-new-tokens", "8", "--threads", "1"})
        .out;
  };
  CHECK(continued(run / "prompt.txt.gz") == continued(run / "prompt.txt"));
}
