#include "lib/core/utf8.h"

#include <doctest/doctest.h>

#include <string>

using namespace gca;
using namespace std::string_literals;

TEST_CASE("the valid prefix ends at the first sequence that is not whole and valid, wherever it stands") {
  for (const std::string& bad :
       {"\xFF"s, "\xC0\xAF"s, "\xED\xA0\x80"s, "\xE2\x82"s, "\xF4\x90\x80\x80"s, "\x80"s})
    for (size_t before = 0; before < 20; ++before)
      for (const std::string& good : {std::string(before, 'a'), std::string(before, 'a') + "\xE2\x82\xAC"}) {
        CHECK(valid_utf8_prefix(good) == good.size());
        CHECK(valid_utf8_prefix(good + bad) == good.size());
        CHECK(valid_utf8_prefix(good + bad + "ordinary text") == good.size());
      }
}

// Unicode 15, tables 3-8 to 3-11.
TEST_CASE("a damaged sequence ends where no valid one can go on") {
  const std::pair<std::string, size_t> table[] = {
      {"\xC0\xAF", 1},         {"\xE0\x9F\x80", 1}, {"\xED\xA0\x80", 1},
      {"\xF4\x91\x92\x93", 1}, {"\xE1\x80\xE2", 2}, {"\xF0\x91\x92\xF1", 3},
      {"\xF1\xBF\x41", 2},     {"\xE2\x82", 2},     {"\x80\x80", 1}};
  for (const auto& [bytes, damaged] : table) {
    CHECK(first_utf8_sequence(bytes).length == 0);
    CHECK(first_utf8_sequence(bytes).damaged == damaged);
  }
  CHECK(first_utf8_sequence("\xE2\x82").is_cut);
  CHECK_FALSE(first_utf8_sequence("\xE2\x82 ").is_cut);
}
