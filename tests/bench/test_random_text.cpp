#include "lib/bench/random_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

TEST_CASE("random text: every id but the landmark's, decided by seed and row") {
  const gca::data::ChunkLayout layout{.chunk_size = 8, .landmark_id = 5};
  const auto text = gca::bench::random_text(1, 0, 2000, 17, layout);
  const std::set<int32_t> ids(text.begin(), text.end());
  CHECK(ids.size() == 16);
  CHECK(ids.count(5) == 0);
  CHECK(*ids.begin() == 0);
  CHECK(*ids.rbegin() == 16);
  CHECK(gca::bench::random_text(1, 0, 2000, 17, layout) == text);
  CHECK(gca::bench::random_text(2, 0, 2000, 17, layout) != text);
  CHECK(gca::bench::random_text(1, 1, 2000, 17, layout) != text);
}

TEST_CASE("random batch: every text token predicts the next, landmarks predict nothing") {
  const gca::data::ChunkLayout layout{.chunk_size = 4, .landmark_id = 9};
  const gca::data::Batch batch = gca::bench::random_batch(3, 2, 2, 6, 10, layout);
  CHECK(batch.length == 8);
  CHECK(batch.ids.size() == 16);
  CHECK(batch.target_count == 12);
  CHECK(batch.text_tokens == 12);
  const auto text = gca::bench::random_text(3, 2, 7, 10, layout);
  const std::vector<int64_t> row(batch.ids.begin(), batch.ids.begin() + 8);
  CHECK(row == std::vector<int64_t>{text[0], text[1], text[2], 9, text[3], text[4], text[5], 9});
  const std::vector<int64_t> targets(batch.targets.begin(), batch.targets.begin() + 8);
  CHECK(targets == std::vector<int64_t>{text[1], text[2], text[3], gca::data::kNoTarget, text[4], text[5],
                                        text[6], gca::data::kNoTarget});
}
