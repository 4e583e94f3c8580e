#pragma once
// Checks of settings, for validate() of a configuration and of a kind of backbone.

#include <cstdint>
#include <string>

#include "lib/core/error.h"

namespace gca::model {

/// Sizes are stored in 64 bits; products of two of them must fit, too.
inline constexpr int64_t kLargestSize = (int64_t{1} << 31) - 1;

inline bool is_size(int64_t value) {
  return value >= 0 && value <= kLargestSize;
}

/// Throws Error(usage) naming `where` unless `condition` holds.
inline void require_setting(bool condition, const std::string& where, const std::string& what,
                            const std::string& remedy = "") {
  if (!condition) fail_usage(where, what, remedy);
}

inline void require_positive(int64_t value, const char* key, const std::string& where) {
  require_setting(value > 0 && is_size(value), where, std::string(key) + " is " + std::to_string(value),
                  "give a whole number from 1 to " + std::to_string(kLargestSize));
}

}  // namespace gca::model
