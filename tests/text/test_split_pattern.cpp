// Patterns cut texts as the `tokenizers` library does: tests/golden/split_patterns holds its pieces.

#include "lib/text/byte_level_bpe/split_pattern.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "lib/core/files/atomic_file.h"
#include "lib/core/utf8.h"
#include "tests/support/error_of.h"

using namespace gca;
using nlohmann::json;

namespace {

using Result = text::SplitPattern::Result;

/// Matches and what is between them; the rules of the library for empty matches.
std::vector<std::string> pieces_of(const text::SplitPattern& pattern, const std::string& text) {
  std::vector<std::string> pieces;
  const auto add = [&](size_t begin, size_t end) {
    if (end > begin) pieces.push_back(text.substr(begin, end - begin));
  };
  size_t done = 0, from = 0;
  bool has_matched = false;
  while (from < text.size()) {
    const auto match = pattern.find(text, from, /*may_go_on=*/false);
    if (match.result != Result::found) break;
    if (match.begin == match.end && has_matched && match.end == done) {
      from += first_utf8_sequence(std::string_view(text).substr(from)).length;
      continue;
    }
    add(done, match.begin);
    add(match.begin, match.end);
    done = from = match.end;
    has_matched = true;
  }
  add(done, text.size());
  return pieces;
}

}  // namespace

TEST_CASE("patterns match what they match in the tokenizers library") {
  const json golden = json::parse(read_file(GCA_SOURCE_DIR "/tests/golden/split_patterns/pieces.json"));
  REQUIRE(golden.size() == 10);
  for (const json& entry : golden) {
    const std::string name = entry["name"];
    CAPTURE(name);
    const text::SplitPattern pattern(entry["pattern"], "test");
    for (const json& expected : entry["cases"]) {
      const std::string text = expected["text"];
      CAPTURE(text);
      CHECK(pieces_of(pattern, text) == expected["pieces"].get<std::vector<std::string>>());
    }
  }
}

TEST_CASE("what Oniguruma has and PCRE2 has not is refused by its name") {
  for (const auto& [pattern, construct] :
       std::initializer_list<std::pair<const char*, const char*>>{{R"([\p{L}&&[^\p{Han}]])", "&&"},
                                                                  {R"([a[bc]])", "[ within a class"},
                                                                  {R"([[:alpha:]]+)", "[ within a class"},
                                                                  {R"(\h+)", "\\h"},
                                                                  {R"(\K)", "\\K"},
                                                                  {R"((?m).)", "(?m)"},
                                                                  {R"((?<name>a))", "(?<n"},
                                                                  {R"((a)\1)", "\\1"},
                                                                  {R"([\W])", "\\W"},
                                                                  {R"(a{2}?)", "{n}?"},
                                                                  {R"((*COMMIT)a)", "(*CO"},
                                                                  {R"(\xE9)", "\\xE9"}}) {
    const std::string said = construct;
    const auto error =
        error_of([&, text = std::string(pattern)] { const text::SplitPattern refused(text, "test"); });
    CAPTURE(said);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(said));
  }
}

TEST_CASE("a match that the end of an open text decides is not known yet") {
  const text::SplitPattern pattern(R"(\p{L}+|\s+(?!\S))", "test");
  const auto closed = pattern.find("ab cd", 3, false);
  CHECK(closed.result == Result::found);
  CHECK(closed.end == 5);
  CHECK(pattern.find("ab cd", 0, true).result == Result::found);
  const auto open = pattern.find("ab cd", 3, true);
  CHECK(open.result == Result::unknown);
  CHECK(open.begin == 3);
  CHECK(pattern.can_restart());
}

TEST_CASE("a pattern that never ends is given up with an error") {
  const text::SplitPattern pattern(R"((?:\p{L}+)+\d)", "test");
  const auto error = error_of([&] { pattern.find(std::string(60, 'a'), 0, false); });
  REQUIRE(error);
  CHECK(error->is_usage());
}
