#include "lib/tasks/self_copy/self_copy_task.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/support/error_of.h"

using namespace gca;

TEST_CASE("The second half repeats the first, and only the repeat has targets") {
  const data::ChunkLayout layout{.chunk_size = 5, .landmark_id = 3};
  const tasks::SelfCopyTask task({.passage_tokens = 8, .ids = 10, .seed = 1}, layout);
  const data::Batch batch = task.batch(7, 3);
  REQUIRE(batch.length == 20);
  CHECK(batch.target_count == 3 * 7);
  std::set<int64_t> seen;
  for (int64_t row = 0; row < 3; ++row) {
    std::vector<int64_t> text, targets;
    for (int64_t p = 0; p < 20; ++p) {
      const int64_t id = batch.ids[static_cast<size_t>(row * 20 + p)];
      const int64_t target = batch.targets[static_cast<size_t>(row * 20 + p)];
      CHECK((id == 3) == (p % 5 == 4));
      if (p % 5 == 4) {
        CHECK(target == data::kNoTarget);
        continue;
      }
      text.push_back(id);
      targets.push_back(target);
      seen.insert(id);
    }
    REQUIRE(text.size() == 16);
    for (size_t j = 0; j < 16; ++j) {
      CAPTURE(j);
      CHECK(text[j] == text[(j + 8) % 16]);
      CHECK(targets[j] == (j >= 8 && j < 15 ? text[j + 1] : data::kNoTarget));
    }
  }
  CHECK(seen.size() > 5);
  CHECK(std::abs(task.chance() - 1.0 / 9) <= 1e-12);
}

TEST_CASE("A sequence depends on its number and the seed alone") {
  const data::ChunkLayout layout{.chunk_size = 5, .landmark_id = 9};
  const tasks::SelfCopyTask task({.passage_tokens = 8, .ids = 10, .seed = 1}, layout);
  const tasks::SelfCopyTask other({.passage_tokens = 8, .ids = 10, .seed = 2}, layout);
  const data::Batch together = task.batch(4, 2), second = task.batch(5, 1);
  CHECK(std::equal(second.ids.begin(), second.ids.end(), together.ids.begin() + together.length));
  CHECK(task.batch(4, 1).ids != task.batch(5, 1).ids);
  CHECK(task.batch(4, 1).ids != other.batch(4, 1).ids);
}

TEST_CASE("Without landmarks the same text has the same targets") {
  const tasks::SelfCopyTask with({.passage_tokens = 8, .ids = 10, .seed = 1},
                                 {.chunk_size = 5, .landmark_id = 9});
  const tasks::SelfCopyTask without({.passage_tokens = 8, .ids = 10, .seed = 1},
                                    {.chunk_size = 0, .landmark_id = 9});
  std::vector<int64_t> text, targets;
  const data::Batch a = with.batch(0, 1), b = without.batch(0, 1);
  for (size_t p = 0; p < a.ids.size(); ++p)
    if (p % 5 != 4) text.push_back(a.ids[p]), targets.push_back(a.targets[p]);
  CHECK(text == b.ids);
  CHECK(targets == b.targets);
}

TEST_CASE("A task with nothing to copy is refused") {
  const data::ChunkLayout layout{.chunk_size = 5, .landmark_id = 1};
  CHECK(error_of([&] { tasks::SelfCopyTask({.passage_tokens = 1, .ids = 10}, layout); })->is_usage());
  CHECK(error_of([&] { tasks::SelfCopyTask({.passage_tokens = 8, .ids = 2}, layout); })->says("vocab_size"));
}

TEST_CASE("A shifted repeat begins anywhere in a chunk, and nothing else has targets") {
  const data::ChunkLayout layout{.chunk_size = 5, .landmark_id = 99};
  const tasks::SelfCopyTask task({.passage_tokens = 8, .ids = 90, .seed = 1, .shift_tokens = 4}, layout);
  CHECK(task.text_tokens() == 20);
  std::set<int64_t> gaps;
  const data::Batch batch = task.batch(0, 60);
  REQUIRE(batch.length == 25);
  CHECK(batch.target_count == 60 * 7);
  for (int64_t row = 0; row < 60; ++row) {
    std::vector<int64_t> text, targets;
    for (int64_t p = 0; p < batch.length; ++p) {
      if (layout.is_landmark(p)) continue;
      text.push_back(batch.ids[static_cast<size_t>(row * batch.length + p)]);
      targets.push_back(batch.targets[static_cast<size_t>(row * batch.length + p)]);
    }
    // The first target's place tells where the repeat begins.
    const auto first = static_cast<int64_t>(
        std::find_if(targets.begin(), targets.end(), [](int64_t id) { return id != data::kNoTarget; }) -
        targets.begin());
    gaps.insert(first - 8);
    for (int64_t j = 0; j < 20; ++j) {
      const bool repeats = j >= first && j < first + 8;
      if (repeats) CHECK(text[static_cast<size_t>(j)] == text[static_cast<size_t>(j - first)]);
      const bool has_target = repeats && j + 1 < first + 8;
      CHECK(targets[static_cast<size_t>(j)] ==
            (has_target ? text[static_cast<size_t>(j + 1)] : data::kNoTarget));
    }
  }
  CHECK(gaps == std::set<int64_t>{0, 1, 2, 3});
}
