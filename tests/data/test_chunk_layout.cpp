#include <doctest/doctest.h>

#include <numeric>

#include "lib/data/chunk_layout.h"

using namespace gca;

namespace {

constexpr int64_t kLandmark = 1000;

/// The sequence as model.md tells it: tokens one after the other, a landmark after every S-1.
struct SpelledOut {
  std::vector<int64_t> ids;
  std::vector<int64_t> positions;  ///< of text token j
};

SpelledOut spell_out(int64_t text_count, int64_t chunk_size) {
  SpelledOut result;
  int64_t in_chunk = 0;
  for (int64_t j = 0; j < text_count; ++j) {
    result.positions.push_back(static_cast<int64_t>(result.ids.size()));
    result.ids.push_back(j);
    if (chunk_size > 0 && ++in_chunk == chunk_size - 1) {
      result.ids.push_back(kLandmark);
      in_chunk = 0;
    }
  }
  return result;
}

std::vector<int32_t> numbered(int64_t count) {
  std::vector<int32_t> text(static_cast<size_t>(count));
  std::iota(text.begin(), text.end(), 0);
  return text;
}

}  // namespace

TEST_CASE("a landmark follows every S-1 text tokens, and positions count both") {
  for (const int64_t chunk_size : {0, 2, 3, 5, 64})
    for (int64_t text_count = 0; text_count < 3 * 64 + 2; ++text_count) {
      CAPTURE(chunk_size);
      CAPTURE(text_count);
      const data::ChunkLayout layout{chunk_size, kLandmark};
      const SpelledOut expected = spell_out(text_count, chunk_size);
      REQUIRE(layout.length_of(text_count) == static_cast<int64_t>(expected.ids.size()));
      REQUIRE(data::lay_out(numbered(text_count), data::kNoTarget, layout).ids == expected.ids);
      int64_t text_so_far = 0;
      for (size_t position = 0; position < expected.ids.size(); ++position) {
        REQUIRE(layout.is_landmark(static_cast<int64_t>(position)) == (expected.ids[position] == kLandmark));
        REQUIRE(layout.text_before(static_cast<int64_t>(position)) == text_so_far);
        text_so_far += expected.ids[position] != kLandmark;
      }
      for (int64_t j = 0; j < text_count; ++j)
        REQUIRE(layout.position_of(j) == expected.positions[static_cast<size_t>(j)]);
    }
}

TEST_CASE("each text token predicts the next text token across landmarks, landmarks predict nothing") {
  for (const int64_t chunk_size : {0, 2, 4})
    for (const int64_t next : {int64_t{777}, data::kNoTarget}) {
      const int64_t text_count = 10;
      const data::LaidOutText laid_out = data::lay_out(numbered(text_count), next, {chunk_size, kLandmark});
      for (size_t position = 0; position < laid_out.ids.size(); ++position) {
        const int64_t id = laid_out.ids[position];
        const int64_t expected = id == kLandmark ? data::kNoTarget : id == text_count - 1 ? next : id + 1;
        CHECK(laid_out.targets[position] == expected);
      }
    }
}
