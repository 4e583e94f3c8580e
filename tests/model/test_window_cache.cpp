#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/model/layers/window_cache.h"
#include "tests/support/doctest.h"

namespace gca::model {
namespace {

constexpr int64_t W = 12;

at::Tensor random_rows(int64_t n) {
  return at::randn({2, n, 3, 4});
}

/// What the cache must hold, written plainly: everything kept, then cut to the last W.
struct PlainWindow {
  at::Tensor past;

  at::Tensor append(const at::Tensor& rows) {
    const at::Tensor all = past.defined() ? at::cat({past, rows}, 1) : rows;
    const int64_t kept = std::min(all.size(1), W);
    past = all.narrow(1, all.size(1) - kept, kept).clone();
    return all;
  }
};

TEST_CASE("a window cache equals keeping everything and cutting to the last W, at any segment lengths") {
  for (const std::vector<int64_t>& pattern :
       {std::vector<int64_t>{1}, {5, 1, 1}, {W}, {W - 1, 1}, {W + 1, 2}, {3, 40, 1, 7}}) {
    CAPTURE(pattern.front());
    model::WindowCache cache;
    PlainWindow keys, values;
    for (int64_t step = 0; step < 60; ++step) {
      const int64_t n = pattern[static_cast<size_t>(step) % pattern.size()];
      const at::Tensor k = random_rows(n), v = random_rows(n);
      const model::WindowCache::Rows rows = cache.append(k, v, W);
      CHECK(at::equal(rows.keys, keys.append(k)));
      CHECK(at::equal(rows.values, values.append(v)));
    }
  }
}

TEST_CASE("rows written in place are the same window, mixed with segments too") {
  model::WindowCache cache;
  PlainWindow truth;
  const auto rows_of_batch_1 = [](int64_t n) { return at::randn({1, n, 3, 4}); };
  const at::Tensor first = rows_of_batch_1(5);
  CHECK_FALSE(cache.takes_rows());
  cache.append(first, first + 1, W);
  truth.append(first);
  for (int64_t step = 0; step < 80; ++step) {
    CAPTURE(step);
    if (step % 17 == 16) {
      const at::Tensor segment = rows_of_batch_1(step % 3 + 1);
      CHECK(at::equal(cache.append(segment, segment + 1, W).keys, truth.append(segment)));
      continue;
    }
    const at::Tensor row = rows_of_batch_1(1);
    const at::Tensor all = truth.append(row);
    REQUIRE(cache.takes_rows());
    const model::WindowCache::OpenRow open = cache.append_row(W);
    REQUIRE(open.count == all.size(1));
    const auto offset = static_cast<size_t>((open.count - 1) * row.numel());
    std::memcpy(static_cast<float*>(open.keys) + offset, row.const_data_ptr(), row.nbytes());
    const at::Tensor value = row + 1;
    std::memcpy(static_cast<float*>(open.values) + offset, value.const_data_ptr(), value.nbytes());
    CHECK(std::memcmp(open.keys, all.contiguous().const_data_ptr(), all.nbytes()) == 0);
    CHECK(std::memcmp(open.values, (all + 1).contiguous().const_data_ptr(), all.nbytes()) == 0);
    CHECK(at::equal(cache.held().keys, truth.past));
  }
}

TEST_CASE("the clone of a window cache goes its own way") {
  model::WindowCache cache;
  PlainWindow truth;
  const auto append = [](model::WindowCache& to, PlainWindow& plain, const at::Tensor& rows) {
    const model::WindowCache::Rows all = to.append(rows, rows, W);
    CHECK(at::equal(all.keys, plain.append(rows)));
  };
  for (int64_t step = 0; step < 20; ++step) append(cache, truth, random_rows(1));

  model::WindowCache copy = cache.clone();
  PlainWindow copy_truth = truth;
  for (int64_t step = 0; step < 30; ++step) {
    append(cache, truth, random_rows(1));
    append(copy, copy_truth, random_rows(2));
  }
}

TEST_CASE("a window cache holds no more than two windows of rows however long the text") {
  model::WindowCache cache;
  const int64_t row_bytes = random_rows(1).nbytes();
  for (int64_t step = 0; step < 500; ++step) {
    cache.append(random_rows(1), random_rows(1), W);
    CHECK(cache.size_bytes() <= 2 * (2 * W + 2) * row_bytes);
  }
}

}  // namespace
}  // namespace gca::model
