#include <doctest/doctest.h>
#include <cstdint>
#include <string>

#include "lib/core/json/json_number.h"

namespace {

using nlohmann::json;

bool is_whole(const std::string& text, int64_t expected) {
  int64_t number = -7;
  return gca::read_whole_number(json::parse(text), number) && number == expected;
}

TEST_CASE("json numbers: whole ones are taken however they are written, all others refused") {
  CHECK(is_whole("0", 0));
  CHECK(is_whole("-3", -3));
  CHECK(is_whole("4.096e3", 4096));
  CHECK(is_whole("9223372036854775807", INT64_MAX));
  CHECK(is_whole("-9223372036854775808", INT64_MIN));
  for (const char* text :
       {"0.5", "1e50", "-1e50", "9223372036854775808", "9.3e18", "\"4\"", "null", "[1]", "true"}) {
    CAPTURE(text);
    int64_t number = -7;
    CHECK_FALSE(gca::read_whole_number(json::parse(text), number));
    CHECK(number == -7);
    CHECK_THROWS_AS(gca::whole_number(json::parse(text)), json::type_error);
  }
}

TEST_CASE("json numbers: lists and numbers without sign") {
  CHECK(gca::whole_numbers(json::parse("[1, 2.0, -3]")) == std::vector<int64_t>{1, 2, -3});
  CHECK_THROWS_AS(gca::whole_numbers(json::parse("[1, 2.5]")), json::type_error);
  CHECK_THROWS_AS(gca::whole_numbers(json::parse("1")), json::type_error);
  CHECK(gca::unsigned_number(json::parse("18446744073709551615")) == UINT64_MAX);
  for (const char* text : {"-1", "1e3", "1e30", "\"1\""}) {
    CAPTURE(text);
    CHECK_THROWS_AS(gca::unsigned_number(json::parse(text)), json::type_error);
  }
}

}  // namespace
