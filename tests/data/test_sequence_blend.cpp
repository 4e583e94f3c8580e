#include "lib/data/sequence_blend.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/data/numbered_tokens.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using data::Batch;
using data::BlendOrder;

TEST_CASE("every set has its share of the sequences at every point, and none is left out or read twice") {
  for (const std::vector<double>& shares :
       {std::vector<double>{6, 3, 1}, {1, 1}, {1}, {0.001, 5}, {1, 2, 3, 4, 5}, {1e-12, 1}}) {
    const BlendOrder order(shares);
    double sum = 0;
    for (const double share : shares) sum += share;
    std::vector<int64_t> before(shares.size(), 0);
    CHECK(order.counts(0) == before);
    for (int64_t consumed = 1; consumed < 3000; ++consumed) {
      const std::vector<int64_t> now = order.counts(consumed);
      int64_t grown = 0;
      for (size_t set = 0; set < shares.size(); ++set) {
        REQUIRE(now[set] >= before[set]);
        grown += now[set] - before[set];
        REQUIRE(std::abs(static_cast<double>(now[set]) - static_cast<double>(consumed) * shares[set] / sum) <
                1.5);
      }
      REQUIRE(grown == 1);
      before = now;
    }
  }
  CHECK(BlendOrder(std::vector<double>{6, 3, 1}).counts(1000) == std::vector<int64_t>{600, 300, 100});
  // Also far on, where a product of doubles would have lost the ones.
  const BlendOrder order(std::vector<double>{1, 2});
  const int64_t far = int64_t{1} << 52;
  for (int64_t i = far; i < far + 100; ++i) {
    const auto a = order.counts(i), b = order.counts(i + 1);
    CHECK(b[0] - a[0] + b[1] - a[1] == 1);
  }
}

TEST_CASE("equal ratios are the same order, others are not") {
  CHECK(BlendOrder(std::vector<double>{6, 3}).text() == BlendOrder(std::vector<double>{2, 1}).text());
  CHECK(BlendOrder(std::vector<double>{6, 3}).text() != BlendOrder(std::vector<double>{6, 3.001}).text());
}

TEST_CASE("stacked batches are padded to the longest, with nothing to predict there") {
  Batch a, b;
  a.rows = 1, a.length = 2, a.ids = {1, 2}, a.targets = {2, 3};
  a.text_tokens = 2, a.target_count = 2, a.target_bytes = 7;
  b.rows = 2, b.length = 3, b.ids = {4, 5, 6, 7, 8, 9}, b.targets = {5, 6, -1, 8, 9, 1};
  b.text_tokens = 6, b.target_count = 5, b.target_bytes = 4;
  const std::vector<Batch> both = {a, b};
  const Batch stacked = data::stack_batches(both);
  CHECK(stacked.rows == 3);
  CHECK(stacked.length == 3);
  CHECK(stacked.ids == std::vector<int64_t>{1, 2, 0, 4, 5, 6, 7, 8, 9});
  CHECK(stacked.targets == std::vector<int64_t>{2, 3, -1, 5, 6, -1, 8, 9, 1});
  CHECK(stacked.text_tokens == 8);
  CHECK(stacked.target_count == 7);
  CHECK(stacked.target_bytes == 11);
}

TEST_CASE("a blend hands out the sequences of its loaders in their order, however it is cut") {
  const TemporaryFolder folder;
  const auto loader_of = [&](const std::string& name, const std::vector<NumberedDocument>& documents) {
    write_numbered_tokens(folder / name, documents);
    data::ChunkSettings settings;
    settings.chunk_size = 5;
    settings.context = 40;
    const auto index = data::SequenceIndex::open(folder / name, settings);
    return data::SequenceLoader(index, {index.train().begin(), index.train().end()}, {5, 60000}, 1, true, {});
  };
  const data::SequenceLoader a = loader_of("a", {{100, ""}, {220, ""}});
  const data::SequenceLoader b = loader_of("b", {{77, ""}, {9, ""}});
  const std::vector<double> shares = {2, 1};
  const data::SequenceBlend blend({a, b}, BlendOrder(shares));
  const Batch whole = blend.batch(0, 30);
  CHECK(whole.rows == 30);
  int64_t from_a = 0, from_b = 0;
  for (int64_t i = 0; i < 30; ++i) {
    const Batch one = blend.batch(i, 1);
    const bool is_a = blend.order().counts(i + 1)[0] > blend.order().counts(i)[0];
    const Batch expected = is_a ? a.batch(from_a++, 1) : b.batch(from_b++, 1);
    REQUIRE(one.ids == expected.ids);
    REQUIRE(one.targets == expected.targets);
    for (int64_t p = 0; p < whole.length; ++p) {
      const auto at = static_cast<size_t>(i * whole.length + p);
      REQUIRE(whole.ids[at] == (p < one.length ? one.ids[static_cast<size_t>(p)] : 0));
    }
  }
  CHECK(from_a == 20);
  CHECK(from_b == 10);
}
