#pragma once
// Whole numbers from JSON that anyone may have written, and numbers that JSON may not be able to hold.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace gca {

/// Puts a whole number into `out`: 4096 and also 4.096e3, which is what other programs may write for one.
/// False for everything else: text, fractions, numbers beyond int64.
bool read_whole_number(const nlohmann::json& value, int64_t& out);

/// `value` as a whole number. json.get<int64_t>() takes 0.5 and casts 1e50, which has no meaning.
/// Throws nlohmann::json::type_error where it is none.
int64_t whole_number(const nlohmann::json& value);

/// A list of such. Throws nlohmann::json::type_error where it is none.
std::vector<int64_t> whole_numbers(const nlohmann::json& list);

/// As whole_number(), for a number from 0 to 2^64 - 1, such as seeds.
uint64_t unsigned_number(const nlohmann::json& value);

/// `x`, or null where it is not finite.
nlohmann::ordered_json number_or_null(double x);

}  // namespace gca
