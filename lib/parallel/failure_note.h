#pragma once
// One rank fails by itself, and the others lose it: it tells what happened, and they are quiet, since they find its note
// where all ranks met.

#include <chrono>
#include <exception>
#include <memory>
#include <optional>

#include "lib/core/error.h"

namespace gca::parallel {

class Communicator;

/// Thrown where another rank has failed, which tells what was wrong: this one ends with the same status and in silence.
struct FailedElsewhere : std::exception {
  explicit FailedElsewhere(ErrorKind its_kind) : kind(its_kind) {}
  const char* what() const noexcept override { return "another rank failed"; }
  ErrorKind kind;
};

/// Of a rank that has failed by itself, before it leaves: is it the first, which tells?
bool leave_failure_note(const Communicator& communicator, ErrorKind kind);

/// The note of another rank, which may come a moment later than its connections break; nothing where there is none.
std::optional<ErrorKind> find_failure_note(const Communicator& communicator);

/// Closes the connections of a rank that knows of the failure: the others see that it is gone. Every rank ends so. Rank 0,
/// which may keep the store, stays until all others have come here, or until they take too long.
void end_after_failure(std::unique_ptr<Communicator> communicator,
                       std::chrono::milliseconds at_most = std::chrono::seconds(3));

}  // namespace gca::parallel
