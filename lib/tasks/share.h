#pragma once
// A share of trials, with its 95 % Wilson interval, for reports and the screen.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace gca::tasks {

/// {"correct", "accuracy", "low", "high"}; accuracy 0 and the interval [0, 1] without trials.
nlohmann::ordered_json share_to_json(int64_t correct, int64_t trials);

/// "98.5 % (96.1 to 99.5)"
std::string share_text(int64_t correct, int64_t trials);

/// " 98.5 %"
std::string percent_text(double part, int64_t trials);

}  // namespace gca::tasks
