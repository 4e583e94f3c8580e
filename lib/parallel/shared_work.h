#pragma once
// A list of pieces of work that ranks share, with results that rank 0 takes in the order of the list, as one process
// would have made them.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/parallel/communicator.h"

namespace gca::parallel {

struct SharedWork {
  std::string name;    ///< of a piece, for errors: "trial"
  int64_t pieces = 0;  ///< fewer than ranks leave ranks idle
  /// Pieces in a row that a rank does: rank r of N has pieces r run .. (r + 1) run of each N run. Results that come
  /// before their turn wait in memory.
  int64_t run = 1;
  /// Does piece number `piece` and gives its result. May not exchange anything.
  std::function<std::string(int64_t piece)> work;
  /// Called on rank 0 for every piece, in order.
  std::function<void(int64_t piece, std::string_view result)> take;
};

/// Does all of it; all ranks call it alike. What `work` throws on a rank, or `take` on rank 0, ends it on all, as in
/// succeed_together().
void share_out(Communicator& communicator, const SharedWork& shared);

/// SharedWork::run where each rank does all its pieces in a row.
int64_t whole_share(int64_t pieces, const Communicator& communicator);

}  // namespace gca::parallel
