#pragma once
// The gca::Error that a call throws, for tests of what an error says.

#include <optional>
#include <string>

#include "lib/core/error.h"

struct CaughtError {
  gca::ErrorKind kind;
  std::string message;

  bool is_usage() const { return kind == gca::ErrorKind::usage; }
  bool says(const std::string& words) const { return message.find(words) != std::string::npos; }
};

/// Nothing when `call` throws nothing; anything but gca::Error goes on to the test framework.
template <class Call>
std::optional<CaughtError> error_of(Call&& call) {
  try {
    call();
  } catch (const gca::Error& error) {
    return CaughtError{error.kind(), error.what()};
  }
  return std::nullopt;
}
