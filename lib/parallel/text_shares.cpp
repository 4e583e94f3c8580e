#include "lib/parallel/text_shares.h"

#include "lib/core/error.h"

namespace gca::parallel {

RingScheme ring_scheme_of(const std::string& name) {
  if (name == "gather") return RingScheme::gather;
  if (name == "zigzag") return RingScheme::zigzag;
  if (name == "ring") return RingScheme::ring;
  fail_usage("--cp-scheme " + name, "is not a scheme", "give gather, zigzag or ring");
}

std::vector<PositionRange> positions_of(RingScheme scheme, int64_t length, int rank, int ranks) {
  if (scheme == RingScheme::ring) {
    const int64_t n = length / ranks;
    return {{rank * n, n}};
  }
  const int64_t slice = length / (2 * ranks);
  return {{rank * slice, slice}, {(2 * ranks - 1 - rank) * slice, slice}};
}

int64_t length_unit(RingScheme scheme, int ranks) {
  return scheme == RingScheme::ring ? ranks : int64_t{2} * ranks;
}

}  // namespace gca::parallel
