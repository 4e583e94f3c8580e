#pragma once

#include <exception>

namespace gca {

/// Thrown where the user has ended the process (Ctrl-C), once all that is kept then has been saved: it exits with 130.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

}  // namespace gca
