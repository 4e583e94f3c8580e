#pragma once
// What a layer of tensorized attention keeps: a cache of the first values alone could not decode, because a hop reads what
// the one before it found at earlier positions.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lib/model/layers/row_history.h"

namespace gca::model {

struct HopHistory {
  RowHistory keys;                 ///< as far back as the longest hop reaches
  std::vector<RowHistory> values;  ///< of each hop: what it reads, as far back as it reaches
};

/// What a hop sees: the distances 0, stride, 2 stride, .., `steps` of them.
struct Hop {
  int64_t steps;  ///< 0: no end
  int64_t stride;
  int64_t kept;  ///< rows before a position that it reads
};

inline std::vector<Hop> hops_of(const std::vector<int64_t>& fold) {
  std::vector<Hop> hops;
  int64_t stride = 1;
  for (const int64_t steps : fold) {
    hops.push_back({steps, stride, steps > 0 ? (steps - 1) * stride : RowHistory::kAll});
    stride *= steps;
  }
  return hops;
}

inline int64_t longest_of(const std::vector<Hop>& hops) {
  int64_t longest = 0;
  for (const Hop& hop : hops) longest = std::max(longest, hop.kept);
  return longest;
}

}  // namespace gca::model
