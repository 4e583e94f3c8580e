#include "lib/tasks/recall/recall_task.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/error_of.h"

using namespace gca;

namespace {

constexpr int64_t kHaystack = 7001;

/// Every stretch of two tokens occurs once.
data::Haystack haystack() {
  std::vector<int32_t> tokens(kHaystack);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  return data::Haystack::of(tokens, "test");
}

}  // namespace

TEST_CASE("The repeat is the passage, and the last whole chunk lies within it") {
  const data::Haystack hay = haystack();
  const tasks::RecallTask task({.chunk_text = 15, .passage_tokens = 40, .seed = 3});
  std::map<int64_t, int> places_in_chunk;
  for (int64_t number = 0; number < 500; ++number) {
    const tasks::RecallText text = task.text(number, 30, hay);
    std::vector<int32_t> tokens(static_cast<size_t>(text.text_tokens));
    hay.read(text.haystack_first, tokens);
    data::apply_edits(text.edits, 0, tokens);
    const auto at = [&](int64_t j) { return tokens[static_cast<size_t>(j)]; };
    REQUIRE(text.first_occurrence >= 0);
    REQUIRE(text.first_occurrence + 40 <= text.passage_room);
    CHECK(text.passage_room == 28 * 15);
    for (int64_t i = 0; i < text.text_tokens - text.repeat; ++i)
      CHECK(at(text.first_occurrence + i) == at(text.repeat + i));
    for (int64_t i = 0; i + 1 < 40; ++i)
      CHECK(at(text.first_occurrence + i + 1) == (at(text.first_occurrence + i) + 1) % kHaystack);
    CHECK(text.repeat <= 29 * 15);
    CHECK(text.text_tokens > 30 * 15 - 5);
    CHECK(text.text_tokens <= 31 * 15);
    ++places_in_chunk[(text.repeat + 15) % 15];
  }
  CHECK(places_in_chunk.size() == 15);
}

TEST_CASE("Of a long passage any part may be known before the last whole chunk") {
  const data::Haystack hay = haystack();
  const tasks::RecallTask task({.chunk_text = 15, .passage_tokens = 150, .seed = 3});
  std::set<int64_t> known;
  for (int64_t number = 0; number < 2000; ++number) {
    const tasks::RecallText text = task.text(number, 30, hay);
    REQUIRE(text.first_occurrence + 150 <= text.passage_room);
    REQUIRE(text.passage_room <= text.repeat);
    CHECK(text.text_tokens == text.repeat + std::min<int64_t>(150, 29 * 15 - text.repeat + 30));
    CHECK(text.text_tokens <= 31 * 15);
    known.insert(29 * 15 - text.repeat);
  }
  CHECK(known.size() == 120);
  CHECK(*known.begin() == 0);
  CHECK(*known.rbegin() == 119);
}

TEST_CASE("Batches: the repeat has targets but for its first tokens, short rows are padded") {
  const data::Haystack hay = haystack();
  const data::ChunkLayout layout{.chunk_size = 16, .landmark_id = 9999};
  const tasks::RecallTask task({.chunk_text = 15, .passage_tokens = 40, .seed = 3});
  const data::Batch batch = task.batch(11, 4, 20, hay, layout);
  REQUIRE(batch.length == 21 * 16);
  int64_t targets = 0;
  for (int64_t row = 0; row < 4; ++row) {
    const tasks::RecallText text = task.text(11 + row, 20, hay);
    for (int64_t p = 0; p < batch.length; ++p) {
      const int64_t target = batch.targets[static_cast<size_t>(row * batch.length + p)];
      const int64_t j = layout.text_before(p);  // text token at position p
      const bool expects = !layout.is_landmark(p) && j + 1 >= text.repeat + tasks::RecallTask::kUncertain &&
                           j + 1 < text.text_tokens;
      CHECK((target != data::kNoTarget) == expects);
      if (!expects) continue;
      ++targets;
      CHECK(target == batch.ids[static_cast<size_t>(row * batch.length + layout.position_of(j + 1))]);
    }
  }
  CHECK(batch.target_count == targets);
}

TEST_CASE("A passage must outgrow two chunks and fit the text") {
  CHECK(error_of([] { tasks::RecallTask({.chunk_text = 15, .passage_tokens = 30}); })->says("recall_chunks"));
  const tasks::RecallTask task({.chunk_text = 15, .passage_tokens = 40});
  CHECK(error_of([&] { task.text(0, 4, haystack()); })->says("longer context"));
}

TEST_CASE("A passage longer than memory is refused before it is drawn") {
  const tasks::RecallTask task({.chunk_text = 15, .passage_tokens = int64_t{1} << 60});
  const auto error = error_of([&] { task.text(0, 100, data::Haystack::of({1, 2, 3}, "three")); });
  REQUIRE(error.has_value());
  CHECK(error->says("leave no room"));
}
