#pragma once
// One rank fails by itself, and the others lose it: it tells what happened, and they are quiet, since they find its note
// where all ranks met.

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <exception>
#include <optional>

#include "lib/core/error.h"

namespace c10d {
class Store;
}

namespace gca::parallel {

/// Thrown where another rank has failed, which tells what was wrong: this one ends with the same status and in silence.
struct FailedElsewhere : std::exception {
  explicit FailedElsewhere(ErrorKind its_kind) : kind(its_kind) {}
  const char* what() const noexcept override { return "another rank failed"; }
  ErrorKind kind;
};

/// Of a rank that has failed by itself, before it leaves: is it the first, which tells?
bool leave_failure_note(c10d::Store& store, ErrorKind kind);

/// The note of another rank, which may come a moment later than its connections break; nothing where there is none.
std::optional<ErrorKind> find_failure_note(c10d::Store& store);

/// Every rank comes here once it knows of the failure and has closed its connections. Rank 0, which may keep the store,
/// stays until all others have come, or until they take too long.
void stay_for_others(c10d::Store& store, int rank, int size,
                     std::chrono::milliseconds at_most = std::chrono::seconds(3));

}  // namespace gca::parallel
