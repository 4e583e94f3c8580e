#pragma once
// Which rows of a batch a rank reads.

#include <cstdint>

#include "lib/parallel/communicator.h"

namespace gca::train {

struct RankRows {
  int64_t first = 0;
  int64_t count = 0;
};

/// As evenly as whole rows can be shared, in the order of the ranks; `text_ranks`, so many of `communicator`, share their rows. All
/// rows without a communicator.
inline RankRows rows_of_rank(int64_t rows, const parallel::Communicator* communicator,
                             const parallel::Communicator* text_ranks = nullptr) {
  if (communicator == nullptr) return {0, rows};
  const int64_t sharing = text_ranks == nullptr ? 1 : text_ranks->size();
  const int64_t groups = communicator->size() / sharing;
  const int64_t group = communicator->rank() / sharing;
  const int64_t first = group * rows / groups;
  return {first, (group + 1) * rows / groups - first};
}

}  // namespace gca::train
