// The needle tasks, checked by solving them: what is asked is looked for in the text as a reader would,
// knowing the phrases alone.

#include "lib/tasks/needles/needle_task.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "tests/support/error_of.h"

using namespace gca;

namespace {

using Tokens = std::vector<int32_t>;

// Ids below 10 are phrases, 10 to 99 random ids, from 100 on text: what is what can be told by looking.
constexpr int32_t kOpen = 1, kLink = 2, kClose = 3, kAsk = 4, kAnswer = 5;
constexpr int64_t kHaystack = 5000;

bool has_keys(tasks::NeedleKind kind) {
  return kind == tasks::NeedleKind::multikey || kind == tasks::NeedleKind::multihop;
}

tasks::NeedlePhrases phrases_of(tasks::NeedleKind kind) {
  tasks::NeedlePhrases phrases;
  phrases.open = {kClose, kOpen};
  phrases.close = {kClose};
  phrases.ask = {kClose, kAsk, kAsk};
  if (has_keys(kind)) phrases.link = {kLink};
  phrases.answer = {kind == tasks::NeedleKind::multihop ? kLink : kAnswer};
  if (!has_keys(kind)) phrases.ask.push_back(kAnswer), phrases.answer = {};
  phrases.value_ids.resize(90);
  std::iota(phrases.value_ids.begin(), phrases.value_ids.end(), 10);
  return phrases;
}

data::Haystack haystack() {
  Tokens tokens(kHaystack);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = 100 + static_cast<int32_t>(i % 800);
  return data::Haystack::of(tokens, "test");
}

bool is_random(int32_t id) {
  return id >= 10 && id < 100;
}

Tokens run_of_random_ids(const Tokens& text, size_t from) {
  Tokens run;
  while (from < text.size() && is_random(text[from])) run.push_back(text[from++]);
  return run;
}

/// What the text says of `key`: the random ids after "open KEY link", or after "open" for an empty key.
std::optional<Tokens> look_up(const Tokens& text, const Tokens& key) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != kOpen) continue;
    const Tokens found = run_of_random_ids(text, i + 1);
    if (key.empty()) return found;
    if (found != key) continue;
    REQUIRE(text.at(i + 1 + key.size()) == kLink);
    return run_of_random_ids(text, i + 2 + key.size());
  }
  return std::nullopt;
}

tasks::NeedleSettings settings_of(tasks::NeedleKind kind, int64_t questions = 1) {
  tasks::NeedleSettings settings;
  settings.kind = kind;
  settings.chunk_text = 15;
  settings.value_tokens = 4;
  settings.key_tokens = 2;
  settings.distractors = 3;
  settings.questions = questions;
  settings.seed = 7;
  return settings;
}

constexpr tasks::NeedleKind kKinds[] = {tasks::NeedleKind::passkey, tasks::NeedleKind::multikey,
                                        tasks::NeedleKind::multihop, tasks::NeedleKind::number};

}  // namespace

TEST_CASE("A reader who knows the phrases finds every answer in the text") {
  const data::Haystack hay = haystack();
  for (const tasks::NeedleKind kind : kKinds)
    for (const int64_t questions : {1, 3}) {
      CAPTURE(tasks::name_of(kind));
      CAPTURE(questions);
      const tasks::NeedleTask task(settings_of(kind, questions), phrases_of(kind));
      for (int64_t number = 0; number < 40; ++number) {
        const tasks::NeedleText text = task.text(number, 24, kHaystack);
        const Tokens tokens = tasks::tokens_of(text, hay);
        REQUIRE(static_cast<int64_t>(text.questions.size()) == questions);
        for (const tasks::NeedleQuestion& question : text.questions) {
          // The key stands between "ask ask" and the token before the answer.
          const auto answer = static_cast<size_t>(question.first_answer);
          Tokens key;
          for (size_t i = answer - 2; is_random(tokens[i]); --i) key.insert(key.begin(), tokens[i]);
          CHECK(key.empty() == !has_keys(kind));
          Tokens expected;
          for (Tokens at = key;;) {
            const auto next = look_up(tokens, at);
            if (!next) break;
            if (!expected.empty()) expected.push_back(kLink);
            expected.insert(expected.end(), next->begin(), next->end());
            if (kind != tasks::NeedleKind::multihop) break;
            at = *next;
          }
          CHECK(question.answer == expected);
          CHECK(Tokens(tokens.begin() + question.first_answer,
                       tokens.begin() + question.first_answer + static_cast<int64_t>(expected.size())) ==
                expected);
          for (const tasks::TokenSpan& value : question.values)
            for (int64_t i = 0; i < value.tokens; ++i)
              CHECK(is_random(tokens[static_cast<size_t>(value.first + i)]));
        }
        // All else is the haystack.
        for (size_t i = 0; i < tokens.size(); ++i)
          if (tokens[i] >= 100)
            CHECK(tokens[i] == 100 + static_cast<int32_t>((text.haystack_first + static_cast<int64_t>(i)) %
                                                          kHaystack % 800));
      }
    }
}

TEST_CASE(
    "The last token before an answer begins a chunk, and needles are candidates of the retrievals before "
    "it") {
  for (const tasks::NeedleKind kind : kKinds) {
    CAPTURE(tasks::name_of(kind));
    const tasks::NeedleSettings settings = settings_of(kind, has_keys(kind) ? 2 : 1);
    const tasks::NeedleTask task(settings, phrases_of(kind));
    const int64_t lead = kind == tasks::NeedleKind::multihop ? 1 : 0;
    for (int64_t number = 0; number < 60; ++number) {
      const tasks::NeedleText text = task.text(number, 24, kHaystack);
      CHECK(text.questions.back().first_answer == 24 * settings.chunk_text + 1);
      for (const tasks::NeedleQuestion& question : text.questions) {
        CHECK((question.first_answer - 1) % settings.chunk_text == 0);
        const int64_t landmark_chunk = (question.first_answer - 1) / settings.chunk_text - 1;
        for (const tasks::TokenSpan& value : question.values)
          CHECK((value.first + value.tokens - 1) / settings.chunk_text < landmark_chunk - lead);
      }
      for (size_t i = 1; i < text.edits.size(); ++i) CHECK(text.edits[i - 1].end() <= text.edits[i].first);
      CHECK(text.text_tokens ==
            text.questions.back().first_answer + static_cast<int64_t>(text.questions.back().answer.size()));
    }
    if (kind == tasks::NeedleKind::multihop) {
      const Tokens tokens = tasks::tokens_of(task.text(0, 24, kHaystack), haystack());
      const int64_t answer = task.text(0, 24, kHaystack).questions.back().first_answer;
      for (int64_t i = 2; i <= 6; ++i)  // the question, but for its last token, stands one chunk earlier, too
        CHECK(tokens[static_cast<size_t>(answer - i)] ==
              tokens[static_cast<size_t>(answer - i - settings.chunk_text)]);
    }
  }
}

TEST_CASE("Needles stand everywhere with the same probability, in any order") {
  tasks::NeedleSettings settings = settings_of(tasks::NeedleKind::multihop);
  settings.distractors = 0;
  const tasks::NeedleTask task(settings, phrases_of(settings.kind));
  constexpr int kTexts = 4000;
  std::map<int64_t, int> by_tenth;
  int in_order = 0;
  for (int64_t number = 0; number < kTexts; ++number) {
    const tasks::NeedleText text = task.text(number, 60, kHaystack);
    const auto& values = text.questions.front().values;
    ++by_tenth[values[0].first * 10 / text.needle_room];
    in_order += values[0].first < values[1].first ? 1 : 0;
  }
  // 400 are expected, 19 is the standard deviation; the first and last tenths lose a little to the needles' length.
  for (int64_t tenth = 0; tenth < 10; ++tenth) {
    CAPTURE(tenth);
    CHECK(by_tenth[tenth] > 320);
    CHECK(by_tenth[tenth] < 480);
  }
  CHECK(std::abs(in_order - kTexts / 2) < 160);
}

TEST_CASE("Batches have the texts as rows, the answers alone have targets, or everything") {
  const data::ChunkLayout layout{.chunk_size = 16, .landmark_id = 999};
  const data::Haystack hay = haystack();
  for (const tasks::NeedleKind kind : kKinds) {
    tasks::NeedleSettings settings = settings_of(kind, 2);
    const tasks::NeedleTask task(settings, phrases_of(kind));
    settings.text_targets = true;
    const tasks::NeedleTask all(settings, phrases_of(kind));
    const data::Batch batch = task.batch(5, 3, 20, hay, layout);
    const data::Batch full = all.batch(5, 3, 20, hay, layout);
    CHECK(batch.ids == full.ids);
    REQUIRE(batch.rows == 3);
    int64_t targets = 0;
    for (int64_t row = 0; row < 3; ++row) {
      const tasks::NeedleText text = task.text(5 + row, 20, kHaystack);
      const data::LaidOutText laid_out = data::lay_out(tasks::tokens_of(text, hay), data::kNoTarget, layout);
      REQUIRE(batch.length == static_cast<int64_t>(laid_out.ids.size()));
      std::vector<int64_t> expected(laid_out.ids.size(), data::kNoTarget);
      for (const tasks::NeedleQuestion& question : text.questions)
        for (size_t i = 0; i < question.answer.size(); ++i, ++targets)
          expected[static_cast<size_t>(
              layout.position_of(question.first_answer + static_cast<int64_t>(i) - 1))] = question.answer[i];
      const auto begin = row * batch.length;
      CHECK(std::equal(laid_out.ids.begin(), laid_out.ids.end(), batch.ids.begin() + begin));
      CHECK(std::equal(expected.begin(), expected.end(), batch.targets.begin() + begin));
      CHECK(std::equal(laid_out.targets.begin(), laid_out.targets.end(), full.targets.begin() + begin));
    }
    CHECK(batch.target_count == targets);
  }
}

TEST_CASE("A text is a function of settings, number and length alone") {
  const tasks::NeedleTask task(settings_of(tasks::NeedleKind::multikey),
                               phrases_of(tasks::NeedleKind::multikey));
  const data::Haystack hay = haystack();
  CHECK(tasks::tokens_of(task.text(3, 20, kHaystack), hay) ==
        tasks::tokens_of(task.text(3, 20, kHaystack), hay));
  CHECK(tasks::tokens_of(task.text(3, 20, kHaystack), hay) !=
        tasks::tokens_of(task.text(4, 20, kHaystack), hay));
  tasks::NeedleSettings other = settings_of(tasks::NeedleKind::multikey);
  other.seed = 8;
  const tasks::NeedleTask again(other, phrases_of(tasks::NeedleKind::multikey));
  CHECK(tasks::tokens_of(task.text(3, 20, kHaystack), hay) !=
        tasks::tokens_of(again.text(3, 20, kHaystack), hay));
  CHECK(task.text(3, 20, kHaystack, 17).haystack_first == 17);
  CHECK(task.chunks_within(20 * 15 + 1 + 4) == 20);
  CHECK(task.chunks_within(20 * 15 + 4) == 19);
}

TEST_CASE("What cannot be asked is refused") {
  const auto refuses = [](tasks::NeedleSettings settings, int64_t chunks, const std::string& says) {
    const auto error =
        error_of([&] { tasks::NeedleTask(settings, phrases_of(settings.kind)).text(0, chunks, kHaystack); });
    REQUIRE(error.has_value());
    CHECK(error->is_usage());
    CHECK(error->says(says));
  };
  refuses(settings_of(tasks::NeedleKind::multikey), 3, "longer context");
  tasks::NeedleSettings settings = settings_of(tasks::NeedleKind::multikey, 5);
  refuses(settings, 20, "more questions than needles");
  settings = settings_of(tasks::NeedleKind::multihop);
  settings.key_tokens = 1;
  settings.distractors = 30;
  refuses(settings, 200, "needle_key_tokens");
  settings = settings_of(tasks::NeedleKind::multihop);
  settings.chunk_text = 4;
  refuses(settings, 200, "chunk_size");
  settings = settings_of(tasks::NeedleKind::passkey);
  settings.value_tokens = 0;
  refuses(settings, 20, "needle_value_tokens");
}
