#include "lib/core/one_line.h"

#include <doctest/doctest.h>

using namespace gca;

TEST_CASE("Control characters and damaged bytes are escaped, text is not") {
  CHECK(one_line("a\nb\tc\rd", 80) == "a\\nb\\tc\\rd");
  CHECK(one_line(std::string_view("\x00\x1b[31m\x7f", 7), 80) == "\\x00\\x1b[31m\\x7f");
  CHECK(one_line("\xC2\x9B"
                 "31m",
                 80) == "\\xc2\\x9b31m");  // U+009B starts a terminal command, too
  CHECK(one_line("caf\xC3\xA9 \xFF\xC3", 80) == "caf\xC3\xA9 \\xff\\xc3");
}

TEST_CASE("A line is cut to its width in characters, at whole characters") {
  CHECK(one_line("abcdefgh", 8) == "abcdefgh");
  CHECK(one_line("abcdefghi", 8) == "abcde...");
  CHECK(one_line("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 5) ==
        "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9");
  CHECK(one_line("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 5) == "\xC3\xA9\xC3\xA9...");
  CHECK(one_line("ab\n\n\n\n", 6) == "ab...");  // an escape is not cut in two
}
