#include "lib/model/layers/row_history.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <algorithm>

namespace gca::model {
namespace {

/// Rows first .. first + count, each with its number.
at::Tensor rows(int64_t first, int64_t count) {
  return at::arange(first, first + count, at::kFloat).view({1, count, 1, 1});
}

TEST_CASE("a row history returns what it keeps and what is new, however rows arrive") {
  for (const int64_t keep : {int64_t{0}, int64_t{1}, int64_t{7}, RowHistory::kAll}) {
    CAPTURE(keep);
    RowHistory history;
    int64_t seen = 0;
    for (const int64_t count : {1, 3, 1, 200, 1, 1, 5, 7, 8, 1, 90, 1}) {
      const int64_t held = std::min(seen, keep);
      CHECK(at::equal(history.append(rows(seen, count), keep), rows(seen - held, held + count)));
      seen += count;
      CHECK(at::equal(history.held(), rows(seen - std::min(seen, keep), std::min(seen, keep))));
    }
  }
}

TEST_CASE("a row history with room for one row holds what appending that row gives") {
  for (const int64_t keep : {int64_t{0}, int64_t{1}, int64_t{7}, RowHistory::kAll}) {
    CAPTURE(keep);
    RowHistory history;
    CHECK(!history.takes_rows());
    history.append(rows(0, 3), keep);
    REQUIRE(history.takes_rows());
    for (int64_t seen = 3; seen < 300; ++seen) {
      const RowHistory::OpenRow open = history.append_row(keep);
      *open.newest<float>(1) = static_cast<float>(seen);
      REQUIRE(open.count == std::min(seen, keep) + 1);
      for (int64_t i = 0; i < open.count; ++i)
        REQUIRE(static_cast<const float*>(open.first)[i] == static_cast<float>(seen - open.count + 1 + i));
    }
    CHECK(at::equal(history.held(), rows(300 - std::min<int64_t>(300, keep), std::min<int64_t>(300, keep))));
  }
}

TEST_CASE("appending to a row history or to its clone leaves the other as it was") {
  RowHistory history;
  history.append(rows(0, 5));
  RowHistory clone = history.clone();
  history.append(rows(5, 1));
  clone.append(rows(70, 2));
  CHECK(at::equal(history.held(), rows(0, 6)));
  CHECK(at::equal(clone.held().narrow(1, 5, 2), rows(70, 2)));
}

TEST_CASE("a row history of one row at a time does not move them all each time") {
  RowHistory history;
  int moves = 0;
  const void* place = nullptr;
  for (int64_t i = 0; i < 4000; ++i) {
    history.append(rows(i, 1));
    moves += history.held().const_data_ptr() != place;
    place = history.held().const_data_ptr();
  }
  CHECK(moves <= 20);
}

}  // namespace
}  // namespace gca::model
