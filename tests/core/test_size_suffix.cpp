#include "lib/core/size_suffix.h"

#include <doctest/doctest.h>

#include "tests/support/error_of.h"

using namespace gca;

TEST_CASE("sizes with and without suffix") {
  CHECK(try_parse_size("0") == 0);
  CHECK(try_parse_size("4096") == 4096);
  CHECK(try_parse_size("16K") == 16384);
  CHECK(try_parse_size("16k") == 16384);
  CHECK(try_parse_size("1M") == 1048576);
  CHECK(try_parse_size("3G") == 3221225472);
  CHECK(try_parse_size("2T") == 2199023255552);
  CHECK(try_parse_size("9223372036854775807") == INT64_MAX);
}

TEST_CASE("what is not a size") {
  for (const char* text : {"", "K", "-1", "+1", "1.5K", "1KB", "1 K", " 1", "1e3", "0x10", "16KK", "sixteen",
                           "9223372036854775808", "9007199254740992K"}) {
    CAPTURE(text);
    CHECK_FALSE(try_parse_size(text));
    const auto error = error_of([&] { parse_size("--context", text); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says("--context"));
    CHECK(error->says("16K"));
  }
}

TEST_CASE("lists of sizes") {
  CHECK(parse_size_list("--context", "1K") == std::vector<int64_t>{1024});
  CHECK(parse_size_list("--context", "1K,4096,2M") == std::vector<int64_t>{1024, 4096, 2097152});
  for (const char* text : {"", ",", "1K,", ",1K", "1K,,2K", "1K;2K"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_size_list("--context", text); }));
  }
}
