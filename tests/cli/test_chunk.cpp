// gca chunk, through the binary.

#include <doctest/doctest.h>

#include "tests/cli/tokenized_books.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"

namespace {

ProcessResult chunk(const TokenizedBooks& books, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"chunk",     "--tokens", books.tokens(), "--output", books / "sequences",
                                    "--context", "1K",       "--json"};
  words.insert(words.end(), more.begin(), more.end());
  return run_gca(words);
}

void flip_bit(const std::string& path, size_t byte) {
  std::string content = gca::read_file(path);
  content[byte] = static_cast<char>(content[byte] ^ 1);
  gca::write_file_atomically(path, content);
}

}  // namespace

TEST_CASE("every token is accounted for, the report is valid and beside the index") {
  const TokenizedBooks books;
  const int64_t all_tokens =
      nlohmann::json::parse(gca::read_file(books.tokens() + "/report.json"))["result"]["tokens"];
  for (const std::vector<std::string>& flags : {std::vector<std::string>{},
                                                {"--valid-fraction", "0.3"},
                                                {"--join-documents"},
                                                {"--chunk-size", "0"}}) {
    const ProcessResult done = chunk(books, flags);
    INFO(done.err);
    REQUIRE(done.status == 0);
    const nlohmann::json report = done.json();
    CHECK(problems_of("chunk", report) == "");
    CHECK(nlohmann::json::parse(gca::read_file(books / "sequences/report.json"))["result"] ==
          report["result"]);
    const nlohmann::json& result = report["result"];
    CHECK(result["tokens"].get<int64_t>() + result["dropped_tokens"].get<int64_t>() == all_tokens);
    CHECK(result["documents"] == 4);
    for (const char* field : {"documents", "sequences", "chunks", "tokens", "dropped_tokens"})
      CHECK(result[field].get<int64_t>() ==
            result["train"][field].get<int64_t>() + result["valid"][field].get<int64_t>());
    CHECK((result["valid"]["documents"] > 0) == !(flags.empty() || flags[0] != "--valid-fraction"));
  }
}

TEST_CASE("the seed decides what is held out, and nothing else does") {
  const TokenizedBooks books;
  const auto held_out = [&](const std::string& seed) {
    REQUIRE(chunk(books, {"--valid-fraction", "0.25", "--seed", seed}).status == 0);
    return gca::read_file(books / "sequences/valid.bin");
  };
  const std::string first = held_out("1");
  CHECK(held_out("1") == first);
  bool differs = false;
  for (const char* seed : {"2", "3", "4", "5", "6", "7"}) differs |= held_out(seed) != first;
  CHECK(differs);
}

TEST_CASE("damaged shards and settings out of range are unusable input") {
  const TokenizedBooks books;
  CHECK(chunk(books, {"--chunk-size", "1"}).status == 2);
  CHECK(chunk(books, {"--valid-fraction", "1"}).status == 2);
  CHECK(chunk(books, {"--output", books.tokens()}).status == 2);
  flip_bit(books.tokens() + "/tokens-00000.bin", 100);
  const ProcessResult damaged = chunk(books, {});
  CHECK(damaged.status == 2);
  CHECK(damaged.err.find("tokens-00000.bin") != std::string::npos);
  flip_bit(books.tokens() + "/tokens-00000.bin", 100);
  CHECK(chunk(books, {}).status == 0);
  flip_bit(books.tokens() + "/index.json", 100);
  CHECK(chunk(books, {}).status == 2);
}
