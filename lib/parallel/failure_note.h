#pragma once
// One rank fails by itself, or is the first to know that another is lost, and the others lose it: it tells what happened,
// and they are quiet, since they find its note where all ranks met.

#include <chrono>
#include <exception>
#include <memory>

#include "lib/core/error.h"

namespace gca::parallel {

class Communicator;

/// Thrown where another rank has failed, which tells what was wrong: this one ends with the same status and in silence.
struct FailedElsewhere : std::exception {
  explicit FailedElsewhere(ErrorKind its_kind, int lost_ranks = 0) : kind(its_kind), lost(lost_ranks) {}
  const char* what() const noexcept override { return "another rank failed"; }
  ErrorKind kind;
  int lost;  ///< ranks that are gone without a word
};

/// Of a rank that has failed by itself or has lost another, before it leaves: is it the first, which tells? Each that has
/// lost the rank that keeps the store tells. `lost` ranks are gone without a word.
bool leave_failure_note(const Communicator& communicator, ErrorKind kind, int lost = 0);

/// Throws FailedElsewhere where another rank has left a note, which may come a moment later than its connections break.
void throw_failure_note(const Communicator& communicator);

/// Closes the connections of a rank that knows of the failure: the others see that it is gone. Every rank ends so. Rank 0,
/// which may keep the store, stays until all others but `lost` of them have come here, or until they take too long.
void end_after_failure(std::unique_ptr<Communicator> communicator, int lost = 0,
                       std::chrono::milliseconds at_most = std::chrono::seconds(3));

}  // namespace gca::parallel
