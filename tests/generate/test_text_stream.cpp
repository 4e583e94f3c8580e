#include "lib/generate/text_stream.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lib/core/utf8.h"

using namespace gca;

namespace {

/// UTF-8 of a code point by its definition.
std::string encode(uint32_t c) {
  const auto byte = [](uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  const auto tail = [&](uint32_t shift) { return byte(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {byte(0xE0 | c >> 12), tail(6), tail(0)};
  return {byte(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

}  // namespace

TEST_CASE("every code point is one sequence, and each of its beginnings is a cut one") {
  int64_t wrong = 0;
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const std::string bytes = encode(c);
    wrong += first_utf8_sequence(bytes + "x").length != bytes.size();
    for (size_t length = 1; length < bytes.size(); ++length) {
      const Utf8Sequence begun = first_utf8_sequence(bytes.substr(0, length));
      wrong += begun.length != 0 || !begun.is_cut;
      wrong += complete_utf8_prefix("ab" + bytes.substr(0, length)) != 2;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("surrogates, overlong forms, and stray bytes are not sequences and not waited for") {
  for (const std::string& bytes :
       {std::string("\xED\xA0\x80"), std::string("\xC0\x80"), std::string("\xE0\x80\x80"),
        std::string("\x80"), std::string("\xF4\x90\x80\x80"), std::string("\xF5"), std::string("\xFF"),
        std::string("\xE2\x28")}) {
    CAPTURE(bytes);
    CHECK(first_utf8_sequence(bytes).length == 0);
    CHECK_FALSE(first_utf8_sequence(bytes).is_cut);
    CHECK(complete_utf8_prefix(bytes) == bytes.size());
  }
}

TEST_CASE("byte by byte, only whole characters are shown and nothing is lost") {
  const std::string text = "naïve – 漢字 😀 end";
  generate::TextStream stream({});
  std::string shown;
  for (const char byte : text) {
    shown += stream.append({&byte, 1});
    CHECK(text.starts_with(shown));
    CHECK(complete_utf8_prefix(shown) == shown.size());
  }
  CHECK(shown == text);
  CHECK(stream.finish().empty());
}

TEST_CASE("a sequence cut off at the end is given at the end") {
  generate::TextStream stream({});
  CHECK(stream.append("a\xF0\x9F") == "a");
  CHECK(stream.finish() == "\xF0\x9F");
  CHECK(stream.text() == "a\xF0\x9F");
}

TEST_CASE("a stop text ends the text wherever tokens are cut") {
  const std::string text = "one aab two aabb three";
  const std::string stop = "aabb";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    CAPTURE(piece);
    generate::TextStream stream({stop});
    std::string shown;
    for (size_t first = 0; first < text.size(); first += piece)
      shown += stream.append(text.substr(first, piece));
    shown += stream.finish();
    CHECK(stream.stopped());
    CHECK(shown == "one aab two ");
    CHECK(stream.text() == "one aab two ");
  }
}

TEST_CASE("the beginning of a stop text that does not come is shown in the end") {
  generate::TextStream stream({"###"});
  CHECK(stream.append("x##") == "x");
  CHECK(stream.append("y##") == "##y");
  CHECK(stream.finish() == "##");
  CHECK_FALSE(stream.stopped());
}

TEST_CASE("of several stop texts the first that is whole ends the text, wherever tokens are cut") {
  const struct {
    std::vector<std::string> stops;
    std::string text;
  } cases[] = {
      {{"USER:", "\n\n"}, "one two "},  // the one that comes first, whatever their order
      {{"\n\n", "USER:"}, "one two "},
      {{"two USER: three", "USER:"}, "one two "},  // begins earlier, is whole later
      {{"USER:", "o USER:"}, "one tw"},            // whole at the same place: the longer one
      {{"absent", "\n\n"}, "one two USER: three"},
  };
  const std::string text = "one two USER: three\n\nfour";
  for (const auto& one : cases) {
    for (size_t piece = 1; piece <= text.size(); ++piece) {
      CAPTURE(piece);
      generate::TextStream stream(one.stops);
      std::string shown;
      for (size_t first = 0; first < text.size(); first += piece) {
        shown += stream.append(text.substr(first, piece));
        CHECK(one.text.starts_with(shown));
      }
      shown += stream.finish();
      CHECK(stream.stopped());
      CHECK(shown == one.text);
    }
  }
}
