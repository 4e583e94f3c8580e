#include "lib/parallel/text_shares.h"

#include "tests/support/doctest.h"

#include "lib/core/error.h"

using namespace gca;
using parallel::RingScheme;

namespace {

std::vector<int64_t> listed(RingScheme scheme, int64_t length, int rank, int ranks) {
  std::vector<int64_t> positions;
  for (const parallel::PositionRange& range : parallel::positions_of(scheme, length, rank, ranks))
    for (int64_t i = 0; i < range.count; ++i) positions.push_back(range.first + i);
  return positions;
}

}  // namespace

TEST_CASE("A rank has positions in a row, or a slice from the front and one from the back") {
  using Positions = std::vector<int64_t>;
  CHECK(listed(RingScheme::ring, 12, 1, 3) == Positions{4, 5, 6, 7});
  for (const RingScheme scheme : {RingScheme::zigzag, RingScheme::gather}) {
    CHECK(listed(scheme, 12, 0, 3) == Positions{0, 1, 10, 11});
    CHECK(listed(scheme, 12, 1, 3) == Positions{2, 3, 8, 9});
    CHECK(listed(scheme, 12, 2, 3) == Positions{4, 5, 6, 7});
    CHECK(parallel::length_unit(scheme, 3) == 6);
  }
  CHECK(parallel::length_unit(RingScheme::ring, 3) == 3);
}

TEST_CASE("Schemes are known by their names") {
  CHECK(parallel::ring_scheme_of("gather") == RingScheme::gather);
  CHECK(parallel::ring_scheme_of("zigzag") == RingScheme::zigzag);
  CHECK(parallel::ring_scheme_of("ring") == RingScheme::ring);
  CHECK_THROWS_AS(parallel::ring_scheme_of("stripe"), Error);
}
