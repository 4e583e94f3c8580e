#include "lib/core/json/config_fields.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/core/error.h"
#include "lib/core/json/json_number.h"
#include "lib/core/size_suffix.h"

namespace gca {
namespace {

using nlohmann::json;

constexpr const char* kBool = "true or false";
constexpr const char* kWhole = "a whole number";
constexpr const char* kNumber = "a number";
constexpr const char* kText = "a text";
constexpr const char* kWholes = "a list of whole numbers";
constexpr const char* kNumbers = "a list of numbers";

/// Levenshtein distance, one row at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(std::string_view key, std::span<const std::string> known) {
  std::string nearest;
  size_t least = SIZE_MAX;
  for (const std::string& name : known) {
    const size_t distance = edit_distance(key, name);
    if (distance < least) least = distance, nearest = name;
  }
  return nearest;
}

json parse_setting_value(const std::string& text) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_discarded()) return value;
  if (const auto size = try_parse_size(text)) return *size;
  return text;
}

std::string expected_type(const json& example) {
  if (example.is_boolean()) return kBool;
  if (example.is_number_integer()) return kWhole;
  if (example.is_number()) return kNumber;
  if (example.is_array()) {
    const bool wholes =
        !example.empty() && std::all_of(example.begin(), example.end(),
                                        [](const json& element) { return element.is_number_integer(); });
    return wholes ? kWholes : kNumbers;
  }
  return kText;
}

namespace detail {

void fail_field_type(const std::string& where, const std::string& key, const json& value,
                     const char* expected) {
  fail_usage(where, "\"" + key + "\" is " + value.dump(-1, ' ', false, json::error_handler_t::replace),
             std::string("it takes ") + expected);
}

int64_t rounded(const std::string& where, const std::string& key, double value) {
  constexpr double kLargest = 1e15;  // well within what 64 bits take
  if (!(std::abs(value) < kLargest))
    fail_usage(where, key + " is " + json(value).dump(), "give a whole number");
  return std::llround(value);
}

void read_value(const std::string& where, const std::string& key, const json& value, bool& out) {
  if (!value.is_boolean()) fail_field_type(where, key, value, kBool);
  out = value.get<bool>();
}

void read_value(const std::string& where, const std::string& key, const json& value, int64_t& out) {
  if (!read_whole_number(value, out)) fail_field_type(where, key, value, kWhole);
}

void read_value(const std::string& where, const std::string& key, const json& value, double& out) {
  if (!value.is_number()) fail_field_type(where, key, value, kNumber);
  out = value.get<double>();
}

void read_value(const std::string& where, const std::string& key, const json& value, std::string& out) {
  if (!value.is_string()) fail_field_type(where, key, value, kText);
  out = value.get<std::string>();
}

void read_value(const std::string& where, const std::string& key, const json& value,
                std::vector<double>& out) {
  if (!value.is_array()) fail_field_type(where, key, value, kNumbers);
  std::vector<double> numbers;
  for (const json& element : value) {
    if (!element.is_number()) fail_field_type(where, key, value, kNumbers);
    numbers.push_back(element.get<double>());
  }
  out = std::move(numbers);
}

void read_value(const std::string& where, const std::string& key, const json& value,
                std::vector<int64_t>& out) {
  if (!value.is_array()) fail_field_type(where, key, value, kWholes);
  std::vector<int64_t> numbers;
  for (const json& element : value) {
    int64_t number = 0;
    if (!read_whole_number(element, number)) fail_field_type(where, key, value, kWholes);
    numbers.push_back(number);
  }
  out = std::move(numbers);
}

}  // namespace detail
}  // namespace gca
