#pragma once
// Things that all ranks must do, or be, alike.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/parallel/communicator.h"
#include "lib/parallel/failure_note.h"

namespace gca::parallel {

/// Runs `work`, which may not exchange anything, and returns once it has succeeded on every rank. Where it throws on
/// some ranks, the first of them throws it on, the others FailedElsewhere; where it throws gca::Interrupted on one, all
/// do. Without a communicator: work().
void succeed_together(Communicator* communicator, const std::function<void()>& work);

/// The same of work with a result: rank 0 gets those of all, rank after rank, the others nothing.
std::vector<std::string> gather_results(Communicator& communicator, const std::function<std::string()>& work,
                                        const std::string& what);

/// Names and texts of what must be the same on all ranks. Where it is not, rank 0 throws Error(usage) naming the first rank
/// that differs and in what, the others FailedElsewhere.
void require_same(Communicator& communicator, const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace gca::parallel
