#include "lib/report/runs/json_entries.h"

#include "lib/report/runs/run_results.h"

namespace gca::report {

double number_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? kUnknownNumber : found->get<double>();
}

std::string text_of(const nlohmann::json& object, const char* key, const char* otherwise) {
  const auto found = object.find(key);
  return found == object.end() ? otherwise : found->get<std::string>();
}

}  // namespace gca::report
