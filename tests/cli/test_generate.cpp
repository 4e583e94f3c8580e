// gca generate, through the binary.

#include <dlfcn.h>

#include <doctest/doctest.h>

#include <filesystem>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <set>
#include <sstream>
#include <thread>

#include "lib/core/utf8.h"
#include "tests/cli/nano_run.h"
#include "tests/support/json_schema.h"
#include "tests/support/skip.h"

namespace {

ProcessResult generate(const NanoRun& run, std::vector<std::string> words, const std::string& input = "") {
  words.insert(words.begin(), {"generate", "--checkpoint", run.checkpoint()});
  return run_gca(words, input);
}

}  // namespace

TEST_CASE("generate: text on standard output, the same in the report, decided by the seed") {
  const NanoRun run;
  const std::string prompt = NanoRun::pages(3, 9);  // some chunks long
  const std::vector<std::string> words = {"--prompt", prompt, "--max-new-tokens", "40", "--seed", "7"};
  std::vector<std::string> with_report = words;
  with_report.insert(with_report.end(), {"--report", run / "generate.json"});
  const ProcessResult streamed = generate(run, with_report);
  REQUIRE(streamed.status == 0);
  CHECK(streamed.err == "");
  CHECK(streamed.out.size() > 20);
  const auto report = nlohmann::json::parse(gca::read_file(run / "generate.json"));
  CHECK(problems_of("generate", report) == "");
  CHECK(report["result"]["new_tokens"] == 40);
  CHECK(report["result"]["tokens"].size() == 40);
  CHECK(report["result"]["prompt_tokens"] > 60);
  if (gca::complete_utf8_prefix(streamed.out) == streamed.out.size() &&
      report["result"]["text"].get<std::string>().find("\xEF\xBF\xBD") == std::string::npos)
    CHECK(report["result"]["text"] == streamed.out);

  CHECK(generate(run, words).out == streamed.out);
  gca::write_file_atomically(run / "prompt.txt", prompt);
  CHECK(generate(run, {"--prompt-file", run / "prompt.txt", "--max-new-tokens", "40", "--seed", "7"}).out ==
        streamed.out);
  CHECK(generate(run, {"--prompt-file", "-", "--max-new-tokens", "40", "--seed", "7"}, prompt).out ==
        streamed.out);
  CHECK(generate(run, {"--prompt", prompt, "--max-new-tokens", "40", "--seed", "8"}).out != streamed.out);

  std::vector<std::string> as_json = words;
  as_json.push_back("--json");
  const auto printed = generate(run, as_json).json();
  CHECK(problems_of("generate", printed) == "");
  CHECK(printed["result"]["tokens"] == report["result"]["tokens"]);
}

TEST_CASE("generate: greedy text does not depend on the segments of prefill, nor on the seed") {
  const NanoRun run;
  const std::vector<std::string> words = {
      "--prompt", NanoRun::pages(3, 9), "--temperature", "0", "--max-new-tokens", "24", "--dtype", "fp32"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = generate(run, all);
    REQUIRE(result.status == 0);
    return result.out;
  };
  const std::string text = with({});
  CHECK(with({"--segment", "16"}) == text);
  CHECK(with({"--segment", "33", "--seed", "5"}) == text);
  CHECK(with({"--top-k", "5", "--threads", "1"}) == text);
}

TEST_CASE("generate: --weight-dtype int8 is told in the report, and saved states serve both types") {
  const NanoRun run;
  const std::vector<std::string> words = {"--temperature", "0", "--max-new-tokens", "24", "--json"};
  const auto report_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = generate(run, all);
    CAPTURE(result.err);
    REQUIRE(result.status == 0);
    CHECK(problems_of("generate", result.json()) == "");
    return result.json();
  };
  const auto plain = report_of({"--prompt", NanoRun::pages(3, 9), "--save-memory", run / "session"});
  CHECK(plain["config"]["weight_dtype"] == plain["config"]["dtype"]);
  const auto int8 = report_of({"--load-memory", run / "session", "--weight-dtype", "int8"});
  CHECK(int8["config"]["weight_dtype"] == "int8");
  CHECK(int8["config"]["dtype"] == plain["config"]["dtype"]);
  CHECK(int8["result"]["tokens"].size() == 24);
  CHECK(report_of({"--load-memory", run / "session", "--weight-dtype", "int8", "--threads",
                   "1"})["result"]["tokens"] == int8["result"]["tokens"]);
}

TEST_CASE("generate: an interruption ends it with 130, and keeps the memory so far") {
  const NanoRun run;
  for (const int signal_number : {SIGINT, SIGUSR2, SIGHUP}) {
    CAPTURE(signal_number);
    const TemporaryFolder folder;
    RunningProcess process(gca_words({"generate", "--checkpoint", run.checkpoint(), "--prompt", "On day",
                                      "--max-new-tokens", "10M", "--save-memory", folder / "session"}));
    REQUIRE(process.wait_until([&] { return process.minds_signal(SIGUSR1); }));
    process.send_signal(SIGUSR1);  // it saves at the end only, and goes on
    REQUIRE(process.wait_for_output());
    process.send_signal(signal_number);
    const ProcessResult result = process.wait();
    CHECK(result.status == 130);
    CHECK(result.out != "");
    CHECK(std::filesystem::exists(folder / "session"));
  }
}

TEST_CASE("generate: wrong usage is told in one line") {
  const NanoRun run;
  const struct {
    std::vector<std::string> words;
    std::string says;
  } cases[] = {
      {{}, "--prompt"},
      {{"--prompt", ""}, "--prompt"},
      {{"--prompt", "a", "--prompt-file", "b"}, "--prompt"},
      {{"--prompt-file", run / "nothing"}, "nothing"},
      {{"--prompt", "a", "--top-p", "2"}, "--top-p"},
      {{"--prompt", "a", "--temperature", "-1"}, "--temperature"},
      {{"--prompt", "a", "--memory", "disk"}, "--memory"},
      {{"--prompt", "a", "--stop", ""}, "--stop"},
      {{"--prompt", "a", "--samples", "0"}, "--samples"},
      {{"--prompt", "a", "--samples", "2", "--json"}, "--json"},
      {{"--prompt", "a", "--samples", "2", "--save-memory", run / "kept"}, "--save-memory"},
      {{"--prompt", "a", "--prompts", "b"}, "--prompt"},
      {{"--prompts", run / "nothing.jsonl"}, "nothing.jsonl"},
      {{"--prompt", NanoRun::pages(3, 3), "--memory", "file:" + run.book()}, run.book()},
  };
  for (const auto& one : cases) {
    const ProcessResult result = generate(run, one.words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.out == "");
    CHECK(result.err.find(one.says) != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
}

TEST_CASE("generate: many prompts and samples, a JSON line each, and each alone by its seed" *
          doctest::test_suite("slow")) {
  const NanoRun run;
  const std::vector<std::string> prompts = {NanoRun::pages(3, 9), "On day", NanoRun::pages(40, 4)};
  std::string file;
  for (size_t i = 0; i < prompts.size(); ++i) {
    nlohmann::json line = {{"prompt", prompts[i]}};
    if (i == 1) line["id"] = "short";
    file += line.dump() + (i == 1 ? "\n\n" : "\n");  // blank lines are passed over
  }
  gca::write_file_atomically(run / "prompts.jsonl", file);
  const auto answers = [&](std::vector<std::string> more, const std::string& input = "") {
    more.insert(more.end(), {"--max-new-tokens", "12", "--seed", "7"});
    const ProcessResult result = generate(run, more, input);
    INFO(result.err);
    REQUIRE(result.status == 0);
    std::vector<nlohmann::json> list;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) list.push_back(nlohmann::json::parse(line));
    return list;
  };
  const auto all =
      answers({"--prompts", run / "prompts.jsonl", "--samples", "2", "--report", run / "report.json"});
  REQUIRE(all.size() == 6);
  const auto report = nlohmann::json::parse(gca::read_file(run / "report.json"));
  CHECK(problems_of("generate", report) == "");
  CHECK(report["result"]["answers"] == nlohmann::json(all));
  std::set<uint64_t> seeds;
  for (size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i]["prompt"] == i / 2);
    CHECK(all[i]["sample"] == i % 2);
    CHECK(all[i].contains("id") == (i / 2 == 1));
    CHECK(all[i]["end_reason"] == "length");
    CHECK(all[i]["new_tokens"] == 12);
    seeds.insert(all[i]["seed"].get<uint64_t>());
    const auto alone = generate(run, {"--prompt", prompts[i / 2], "--max-new-tokens", "12", "--json",
                                      "--seed", std::to_string(all[i]["seed"].get<uint64_t>())})
                           .json()["result"];
    for (const char* key : {"tokens", "text", "prompt_tokens", "chunks_retrieved", "end_reason"})
      CHECK(all[i][key] == alone[key]);
  }
  CHECK(seeds.size() == 6);
  CHECK(all[0]["tokens"] != all[1]["tokens"]);
  // Neither the other prompts nor the number of samples matter, nor where the file comes from.
  CHECK(answers({"--prompts", "-"}, file)[2] == all[4]);
  CHECK(answers({"--prompt", prompts[0], "--samples", "2"}) == std::vector(all.begin(), all.begin() + 2));

  for (const auto& [line, says] :
       {std::pair<std::string, std::string>{"{\"prompt\": \"a\"}\nno JSON\n", ":2: is not"},
        {"[1]\n", ":1: is not"},
        {"{\"text\": \"a\"}\n", "\"prompt\""},
        {"{\"prompt\": \"\"}\n", "empty"},
        {"\n", "no prompt"}}) {
    const ProcessResult refused = generate(run, {"--prompts", "-"}, line);
    CAPTURE(refused.err);
    CHECK(refused.status == 2);
    CHECK(refused.out == "");
    CHECK(refused.err.find(says) != std::string::npos);
  }
}

TEST_CASE("generate: the first of several --stop ends the text") {
  const NanoRun run;
  const std::vector<std::string> words = {"--prompt", "On day", "--max-new-tokens", "60", "--seed",
                                          "7",        "--json"};
  const auto result_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = generate(run, all);
    INFO(result.err);
    REQUIRE(result.status == 0);
    CHECK(problems_of("generate", result.json()) == "");
    return result.json()["result"];
  };
  const auto whole = result_of({});
  CHECK(whole["end_reason"] == "length");
  const std::string text = whole["text"];
  // ASCII letters of the text: one late, one early.
  std::string late, early;
  for (const char c : text)
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) (early.empty() ? early : late) = std::string(1, c);
  REQUIRE(!late.empty());
  const auto stopped = result_of({"--stop", late, "--stop", early, "--stop", "USER:"});
  CHECK(stopped["end_reason"] == "stop_text");
  CHECK(stopped["stopped"] == true);
  CHECK(stopped["text"] == text.substr(0, std::min(text.find(late), text.find(early))));
}

TEST_CASE("generate: a question that is shorter than a chunk says that nothing of the library was read") {
  const NanoRun run;
  NanoRun::must_run(
      {"memory", "build", run.book(), "--checkpoint", run.checkpoint(), "--output", run / "library"});
  const auto asked = [&](const std::string& prompt, const std::string& new_tokens,
                         const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--prompt", prompt,  "--max-new-tokens", new_tokens, "--temperature",
                                      "0",        "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = generate(run, words);
    INFO(result.err);
    REQUIRE(result.status == 0);
    const bool says = result.err.find("nothing was retrieved from") != std::string::npos;
    return std::pair(result.json()["result"]["chunks_retrieved"].get<int64_t>(), says);
  };
  const std::vector<std::string> library = {"--load-memory", run / "library"};
  CHECK(asked("lamp?", "3", library) == std::pair(int64_t{0}, true));
  CHECK(asked("lamp?", "3", {}) == std::pair(int64_t{0}, false));  // nothing to read
  const auto [chunks, says] = asked(NanoRun::pages(30, 2), "3", library);
  CHECK(chunks > 0);
  CHECK_FALSE(says);
  CHECK(asked("lamp?", "40", library).first > 0);  // the answer fills the chunk

  // Each answer of several is told by its count, and once on standard error.
  gca::write_file_atomically(run / "prompts.jsonl",
                             nlohmann::json({{"prompt", "lamp?"}}).dump() + "\n" +
                                 nlohmann::json({{"prompt", NanoRun::pages(30, 2)}}).dump() + "\n");
  const ProcessResult several =
      generate(run, {"--prompts", run / "prompts.jsonl", "--load-memory", run / "library", "--max-new-tokens",
                     "3", "--temperature", "0"});
  REQUIRE(several.status == 0);
  CHECK(several.err.find("1 of 2 answers retrieved nothing") != std::string::npos);
  std::istringstream lines(several.out);
  std::string line;
  std::getline(lines, line);
  CHECK(nlohmann::json::parse(line)["chunks_retrieved"] == 0);
  std::getline(lines, line);
  CHECK(nlohmann::json::parse(line)["chunks_retrieved"] == chunks);
}

TEST_CASE("generate: --device cuda without an NVIDIA driver says so in one line") {
  if (dlopen("libcuda.so.1", RTLD_LAZY) != nullptr) SKIP_TEST("there is an NVIDIA driver");
  const NanoRun run;
  const ProcessResult result = generate(run, {"--prompt", "a", "--device", "cuda"});
  CAPTURE(result.err);
  CHECK(result.status == 1);
  CHECK(result.out == "");
  CHECK(result.err.find("no NVIDIA driver") != std::string::npos);
  CHECK(result.err.find("libcuda.so.1") != std::string::npos);
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}

TEST_CASE("generate: a text is kept with --save-memory and gone on with by --load-memory") {
  const NanoRun run;
  const std::string prompt = NanoRun::pages(3, 9);
  const auto generated = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"generate", "--checkpoint", run.checkpoint(), "--seed", "4", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(words);
    INFO(result.err);
    REQUIRE(result.status == 0);
    CHECK(problems_of("generate", result.json()) == "");
    return result.json()["result"];
  };
  const auto whole = generated({"--prompt", prompt, "--max-new-tokens", "30"});
  const auto first =
      generated({"--prompt", prompt, "--max-new-tokens", "11", "--save-memory", run / "memory"});
  const auto rest = generated({"--load-memory", run / "memory", "--max-new-tokens", "19"});
  CHECK(rest["prompt_tokens"] == 0);
  CHECK(rest["past_tokens"] == first["prompt_tokens"].get<int64_t>() + 11);
  nlohmann::json tokens = first["tokens"];
  for (const auto& token : rest["tokens"]) tokens.push_back(token);
  CHECK(tokens == whole["tokens"]);

  const auto refuses = [&](const std::vector<std::string>& words, const std::string& name) {
    std::vector<std::string> all = {"generate", "--checkpoint", run.checkpoint()};
    all.insert(all.end(), words.begin(), words.end());
    const ProcessResult result = run_gca(all);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(name) != std::string::npos);
  };
  refuses({"--load-memory", run / "nothing"}, "nothing");
  refuses({"--max-new-tokens", "1"}, "--prompt");
  refuses({"--prompt", "x", "--save-memory", run.tokens()}, "--save-memory");
  CHECK(std::filesystem::exists(run.tokens() + "/index.json"));
}
