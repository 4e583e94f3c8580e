#pragma once
// Which positions of a text the ranks have that share it.

#include <cstdint>
#include <string>
#include <vector>

namespace gca::parallel {

/// How ranks that share a text of full attention exchange keys and values (--cp-scheme).
enum class RingScheme : uint8_t {
  gather,  ///< all to all ranks at once; positions as zigzag
  zigzag,  ///< round a ring, block by block; each rank has a slice from the front and one from the back: equal work
  ring,  ///< round a ring; each rank has positions in a row, the last ones the most work
};

/// Throws Error(usage) naming --cp-scheme for anything else.
RingScheme ring_scheme_of(const std::string& name);

/// Consecutive positions of a text.
struct PositionRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// Positions of rank p of N in a text of L, in order: ring: p L/N .. (p + 1) L/N; else slices p and 2N-1-p of 2N.
/// `length` must be a multiple of length_unit().
std::vector<PositionRange> positions_of(RingScheme scheme, int64_t length, int rank, int ranks);

/// Texts have a multiple of so many positions.
int64_t length_unit(RingScheme scheme, int ranks);

}  // namespace gca::parallel
