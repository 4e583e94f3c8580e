#pragma once
// Entries of JSON objects that may be absent: reports of older versions lack what came later.

#include <nlohmann/json.hpp>
#include <string>

namespace gca::report {

/// NaN for null or nothing.
double number_of(const nlohmann::json& object, const char* key);
std::string text_of(const nlohmann::json& object, const char* key, const char* otherwise);

}  // namespace gca::report
