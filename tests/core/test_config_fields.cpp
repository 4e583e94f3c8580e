#include "lib/core/json/config_fields.h"

#include <doctest/doctest.h>

#include "tests/support/error_of.h"

using namespace gca;
using nlohmann::json;

namespace {

struct Settings {
  bool flag = false;
  int64_t count = 0;
  double rate = 0;
  std::string name;
  std::vector<double> slopes;
  std::vector<int64_t> layers;
};

const std::vector<ConfigField<Settings>> kFields = {{"flag", &Settings::flag, ""},
                                                    {"count", &Settings::count, "", Change::per_phase},
                                                    {"rate", &Settings::rate, "", Change::ramp},
                                                    {"name", &Settings::name, ""},
                                                    {"slopes", &Settings::slopes, ""},
                                                    {"layers", &Settings::layers, ""}};

bool set(Settings& settings, const std::string& key, const json& value) {
  return set_field<Settings>(settings, kFields, "--set", key, value);
}

}  // namespace

TEST_CASE("fields of every type are set and written back") {
  Settings settings;
  const json values = {{"flag", true}, {"count", -3},          {"rate", 2.5},
                       {"name", "x"},  {"slopes", {0.5, 1.0}}, {"layers", {1, 2}}};
  for (const auto& [key, value] : values.items()) CHECK(set(settings, key, value));
  CHECK(json(fields_to_json<Settings>(settings, kFields)) == values);
  CHECK_FALSE(set(settings, "missing", 1));
  CHECK(field_names<Settings>(kFields) ==
        std::vector<std::string>{"flag", "count", "rate", "name", "slopes", "layers"});
}

TEST_CASE("whole numbers may be written as others write them") {
  Settings settings;
  CHECK(set(settings, "count", json::parse("4.096e3")));
  CHECK(settings.count == 4096);
  CHECK(set(settings, "rate", 3));
  CHECK(settings.rate == 3.0);
}

TEST_CASE("a wrong type names the place, the key and what it takes") {
  Settings settings;
  settings.layers = {7};
  const struct {
    const char* key;
    json value;
    const char* expected;
  } cases[] = {{"flag", 1, "true or false"},
               {"count", 1.5, "a whole number"},
               {"count", "12", "a whole number"},
               {"count", json::parse("1e300"), "a whole number"},
               {"count", json::parse("18446744073709551615"), "a whole number"},
               {"rate", true, "a number"},
               {"rate", nullptr, "a number"},
               {"name", 3, "a text"},
               {"slopes", 1.0, "a list of numbers"},
               {"slopes", {1.0, "a"}, "a list of numbers"},
               {"layers", {1, 2.5}, "a list of whole numbers"}};
  for (const auto& bad : cases) {
    const char* key = bad.key;
    const char* expected = bad.expected;
    CAPTURE(key);
    const auto error = error_of([&] { set(settings, key, bad.value); });
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->message.starts_with("--set: "));
    CHECK(error->says("\"" + std::string(key) + "\""));
    CHECK(error->says(expected));
  }
  CHECK(settings.layers == std::vector<int64_t>{7});  // untouched by what failed
}

TEST_CASE("the right-hand side of --set") {
  CHECK(parse_setting_value("16K") == json(16384));
  CHECK(parse_setting_value("16") == json(16));
  CHECK(parse_setting_value("1e-3") == json(0.001));
  CHECK(parse_setting_value("true") == json(true));
  CHECK(parse_setting_value("[1, 2]") == json({1, 2}));
  CHECK(parse_setting_value("gca") == json("gca"));
  CHECK(parse_setting_value("\"16\"") == json("16"));
  CHECK(parse_setting_value("") == json(""));
}

TEST_CASE("the nearest name by edit distance") {
  const std::vector<std::string> known = {"chunk_size", "chunk_top_k", "hidden_size"};
  CHECK(nearest_name("chunksize", known) == "chunk_size");
  CHECK(nearest_name("hiden_size", known) == "hidden_size");
  CHECK(nearest_name("chunk_topk", known) == "chunk_top_k");
  CHECK(nearest_name("x", {}).empty());
}

TEST_CASE("expected types in words") {
  CHECK(expected_type(true) == "true or false");
  CHECK(expected_type(1) == "a whole number");
  CHECK(expected_type(1.5) == "a number");
  CHECK(expected_type("x") == "a text");
  CHECK(expected_type({1, 2}) == "a list of whole numbers");
  CHECK(expected_type({1.5}) == "a list of numbers");
}

TEST_CASE("a number that moves is rounded where the setting is whole") {
  Settings settings;
  CHECK(set_field_number<Settings>(settings, kFields, "plan", "count", 2.6));
  CHECK(settings.count == 3);
  CHECK(set_field_number<Settings>(settings, kFields, "plan", "rate", 2.6));
  CHECK(settings.rate == 2.6);
  CHECK_FALSE(set_field_number<Settings>(settings, kFields, "plan", "missing", 1));
  const auto error = error_of([&] { set_field_number<Settings>(settings, kFields, "plan", "count", 1e30); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("count is 1e+30"));
}

TEST_CASE("only what may change is taken over") {
  Settings settings;
  const Settings other{true, 7, 0.5, "y", {1.0}, {2}};
  copy_changing_fields<Settings>(settings, kFields, other);
  CHECK(settings.count == 7);
  CHECK(settings.rate == 0.5);
  CHECK_FALSE(settings.flag);
  CHECK(settings.name.empty());
  CHECK(settings.slopes.empty());
  CHECK(settings.layers.empty());
}
