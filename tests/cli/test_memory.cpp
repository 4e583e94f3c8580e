// gca memory and what uses its libraries, through the binary.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "tests/cli/nano_run.h"
#include "tests/cli/report_of.h"

namespace {

/// The text of a chunk is that of the document that is named, if it holds whole characters.
void check_names(const nlohmann::json& chunks, const std::string& book, const std::string& other) {
  int64_t from_library = 0;
  for (const auto& chunk : chunks)
    for (const auto& group : chunk["groups"])
      for (const auto& read : group["retrieved"]) {
        if (!read.contains("document")) {
          CHECK(read["text"] == chunks[read["chunk"].get<size_t>()]["text"]);
          continue;
        }
        ++from_library;
        const std::string text = read["text"];
        const std::string name = read["document"];
        REQUIRE((name.ends_with("book.txt") || name.ends_with("other.txt")));
        const std::string content = gca::read_file(name.ends_with("book.txt") ? book : other);
        if (text.find("\xEF\xBF\xBD") == std::string::npos) CHECK(content.find(text) != std::string::npos);
      }
  CHECK(from_library > 0);
}

}  // namespace

TEST_CASE("memory: a library built, told about, joined, asked and looked into" *
          doctest::test_suite("slow")) {
  const NanoRun run;
  const std::string checkpoint = run.checkpoint();
  const std::string book = run.book(), other = run / "other.txt";
  const auto built = report_of({"memory", "build", book, other, "--checkpoint", checkpoint, "--output",
                                run / "both", "--dtype", "fp32"},
                               "memory");
  REQUIRE(built["documents"].size() == 2);
  CHECK(built["documents"][0]["name"] == book);
  CHECK(built["documents"][0]["chunks"] == built["documents"][0]["tokens"].get<int64_t>() / 15);
  CHECK(built["documents"][1]["first_chunk"] == built["documents"][0]["chunks"]);
  CHECK(std::filesystem::exists(run / "both/report.json"));

  // Shards are the same texts.
  const auto shards = report_of({"memory", "build", run.tokens(), "--model", checkpoint, "--output",
                                 run / "shards", "--dtype", "fp32", "--threads", "1"},
                                "memory");
  CHECK(shards["tokens"] == built["tokens"]);

  for (const auto& [name, text] : {std::pair("a", book), {"b", other}})
    report_of(
        {"memory", "build", text, "--checkpoint", checkpoint, "--output", run / name, "--dtype", "fp32"},
        "memory");
  const auto joined =
      report_of({"memory", "join", run / "a", run / "b", "--output", run / "joined"}, "memory");
  CHECK(joined["documents"] == built["documents"]);
  CHECK(joined["parts"].size() == 2);
  CHECK(report_of({"memory", "info", run / "joined"}, "memory")["documents"] == built["documents"]);
  const ProcessResult table = run_gca({"memory", "info", run / "joined"});
  CHECK(table.out.find(other + "\n") != std::string::npos);

  // Joined, built at once, or from shards: what is retrieved is the same.
  const std::string prompt = NanoRun::pages(30, 6);
  const auto inspect = [&](const std::string& library) {
    return report_of({"inspect-retrieval", "--checkpoint", checkpoint, "--prompt", prompt, "--load-memory",
                      run / library, "--dtype", "fp32"},
                     "inspect-retrieval")["chunks"];
  };
  const auto chunks = inspect("both");
  check_names(chunks, book, other);
  const auto chunks_of_joined = inspect("joined"), chunks_of_shards = inspect("shards");
  REQUIRE(chunks_of_joined.size() == chunks.size());
  for (size_t t = 0; t < chunks.size(); ++t) {
    // A chunk's landmark comes before the chunk that it serves: the first can read nothing.
    CHECK(chunks[t]["groups"][0]["retrieved"].size() == (t == 0 ? 0 : 2));
    for (size_t k = 0; k < chunks[t]["groups"][0]["retrieved"].size(); ++k)
      for (const char* key : {"document", "chunk", "text"}) {
        const auto& one = chunks[t]["groups"][0]["retrieved"][k];
        if (!one.contains(key)) continue;
        CHECK(chunks_of_joined[t]["groups"][0]["retrieved"][k][key] == one[key]);
        CHECK(chunks_of_shards[t]["groups"][0]["retrieved"][k][key] == one[key]);
      }
  }
  const ProcessResult shown = run_gca({"inspect-retrieval", "--checkpoint", checkpoint, "--prompt", prompt,
                                       "--load-memory", run / "joined", "--html", run / "page.html"});
  CHECK(shown.status == 0);
  CHECK(gca::read_file(run / "page.html").find("\"document\":\"" + book) != std::string::npos);
  const ProcessResult as_table = run_gca(
      {"inspect-retrieval", "--checkpoint", checkpoint, "--prompt", prompt, "--load-memory", run / "joined"});
  CHECK(as_table.out.find("book.txt: ") != std::string::npos);

  // Generation reads it, from whatever place its own chunks are kept in.
  const auto generated = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"generate", "--checkpoint",     checkpoint, "--prompt",
                                      prompt,     "--max-new-tokens", "30",       "--dtype",
                                      "fp32",     "--seed",           "3"};
    words.insert(words.end(), more.begin(), more.end());
    return report_of(words, "generate");
  };
  const auto answer = generated({"--load-memory", run / "both", "--profile"});
  CHECK(answer["past_tokens"] == built["tokens"]);
  CHECK(answer["first_token_seconds"] > 0);
  CHECK(generated({"--load-memory", run / "joined"})["tokens"] == answer["tokens"]);
  CHECK(generated({"--load-memory", run / "both", "--memory", "file:" + (run / "scratch"), "--memory-dtype",
                   "fp32"})["tokens"] == answer["tokens"]);
  CHECK_FALSE(std::filesystem::exists(run / "scratch"));
  const auto alone = generated({});
  CHECK(generated({"--memory", "file:" + (run / "scratch")})["tokens"] == alone["tokens"]);
}

TEST_CASE("memory: wrong usage is told in one line, and nothing is lost" * doctest::test_suite("slow")) {
  const NanoRun run;
  const NanoRun stranger({"num_upper_layers=2"});
  const std::string checkpoint = run.checkpoint();
  NanoRun::must_run(
      {"memory", "build", run.book(), "--checkpoint", checkpoint, "--output", run / "library", "--quiet"});
  NanoRun::must_run({"generate", "--checkpoint", checkpoint, "--prompt", "On day", "--max-new-tokens", "2",
                     "--save-memory", run / "session"});
  gca::write_file_atomically(run / "short.txt", "On day 1");
  const std::string library = run / "library";
  const struct {
    std::vector<std::string> words;
    std::string says;
  } cases[] = {
      {{"memory"}, "ACTION"},
      {{"memory", "mend", library}, "mend"},
      {{"memory", "build", run.book(), "--output", run / "x"}, "--checkpoint"},
      {{"memory", "build", run.book(), "--checkpoint", checkpoint}, "--output"},
      {{"memory", "build", run / "none", "--checkpoint", checkpoint, "--output", run / "x"}, "none"},
      {{"memory", "build", run / "short.txt", "--checkpoint", checkpoint, "--output", run / "x"},
       "15 tokens"},
      {{"memory", "build", library, "--checkpoint", checkpoint, "--output", run / "x"}, "gca.library/1"},
      {{"memory", "build", run.book(), "--checkpoint", checkpoint, "--output", run.tokens()}, "--output"},
      {{"memory", "build", run.book(), "--checkpoint", run / "none", "--output", run / "x"}, "none"},
      {{"memory", "build", stranger.tokens() + "/index.json", "--checkpoint", checkpoint, "--output", library,
        "--memory-dtype", "int4"},
       "--memory-dtype"},
      {{"memory", "join", library, run.tokens(), "--output", run / "x"}, "gca memory build"},
      {{"memory", "join", library}, "--output"},
      {{"memory", "info", library, library}, "one library too many"},
      {{"memory", "info", run / "none"}, "none"},
      {{"generate", "--checkpoint", checkpoint, "--load-memory", library}, "prompt"},
      {{"generate", "--checkpoint", stranger.checkpoint(), "--load-memory", library, "--prompt", "x"},
       "another model"},
      {{"generate", "--checkpoint", checkpoint, "--load-memory", library, "--prompt", "x", "--save-memory",
        run / "x"},
       "--save-memory"},
      {{"inspect-retrieval", "--checkpoint", checkpoint, "--load-memory", run / "session", "--prompt", "x"},
       "session"},
  };
  for (const auto& one : cases) {
    const ProcessResult result = run_gca(one.words);
    CAPTURE(one.words.back());
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.out == "");
    CHECK(result.err.find(one.says) != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  CHECK_FALSE(std::filesystem::exists(run / "x"));
  CHECK(run_gca({"memory", "info", library}).status == 0);
}
