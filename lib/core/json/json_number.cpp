#include "lib/core/json/json_number.h"

#include <cmath>

namespace gca {
namespace {

[[noreturn]] void fail_type(const nlohmann::json& value, const char* expected) {
  constexpr int kWrongType = 302;  // nlohmann's number for it
  throw nlohmann::json::type_error::create(
      kWrongType,
      "expected " + std::string(expected) + ", found " +
          value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
      &value);
}

}  // namespace

bool read_whole_number(const nlohmann::json& value, int64_t& out) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return false;
    out = static_cast<int64_t>(number);
    return true;
  }
  if (value.is_number_integer()) {
    out = value.get<int64_t>();
    return true;
  }
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  constexpr double kExact = 9007199254740992.0;  // 2^53: above it a double skips whole numbers
  if (!(std::abs(number) <= kExact) || number != std::trunc(number)) return false;
  out = static_cast<int64_t>(number);
  return true;
}

int64_t whole_number(const nlohmann::json& value) {
  int64_t number = 0;
  if (!read_whole_number(value, number)) fail_type(value, "a whole number");
  return number;
}

std::vector<int64_t> whole_numbers(const nlohmann::json& list) {
  if (!list.is_array()) fail_type(list, "a list of whole numbers");
  std::vector<int64_t> numbers;
  for (const nlohmann::json& value : list) numbers.push_back(whole_number(value));
  return numbers;
}

uint64_t unsigned_number(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) fail_type(value, "a whole number from 0");
  return value.get<uint64_t>();
}

nlohmann::ordered_json number_or_null(double x) {
  return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json(nullptr);
}

}  // namespace gca
