#pragma once
// Which rows of a batch a rank reads.

#include <cstdint>

#include "lib/parallel/communicator.h"

namespace gca::train {

struct RankRows {
  int64_t first = 0;
  int64_t count = 0;
};

/// As evenly as whole rows can be shared, in the order of the ranks. All rows without a communicator.
inline RankRows rows_of_rank(int64_t rows, const parallel::Communicator* communicator) {
  if (communicator == nullptr) return {0, rows};
  const int64_t rank = communicator->rank();
  const int64_t first = rank * rows / communicator->size();
  return {first, (rank + 1) * rows / communicator->size() - first};
}

}  // namespace gca::train
