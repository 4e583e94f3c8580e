#include "lib/tasks/recall/recall_task.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/error.h"
#include "lib/tasks/task_random.h"

namespace gca::tasks {

RecallTask::RecallTask(RecallSettings settings) : settings_(settings) {
  const std::string where = task_place("recall", settings_.names);
  if (settings_.chunk_text < 1) fail_usage(where, "the chunks have no text", "raise chunk_size");
  if (settings_.passage_tokens <= 2 * settings_.chunk_text)
    fail_usage(where,
               fmt::format("a passage of {} tokens is no longer than two chunks of {}",
                           settings_.passage_tokens, settings_.chunk_text),
               "raise " + name_of(kRecallChunks, settings_.names));
}

RecallText RecallTask::text(int64_t number, int64_t chunks, const data::Haystack& haystack,
                            std::optional<int64_t> haystack_first) const {
  const int64_t chunk_text = settings_.chunk_text;
  RecallText text;
  // Fewer tokens of the repeat than this stand before the last whole chunk.
  const int64_t most_known = std::max(chunk_text, settings_.passage_tokens - 2 * chunk_text);
  text.passage_room = (chunks - 1) * chunk_text - most_known;
  if (text.passage_room < settings_.passage_tokens)
    fail_usage(task_place("recall", settings_.names),
               fmt::format("{} chunks of {} text tokens leave no room for a passage of {}",
                           std::max<int64_t>(chunks, 0), chunk_text, settings_.passage_tokens),
               std::string("give a longer ") + context_name(settings_.names));
  TaskRandom random(settings_.seed, number);
  text.haystack_first = haystack_first ? *haystack_first : random.below(haystack.token_count());
  data::TextEdit passage;
  passage.tokens.resize(static_cast<size_t>(settings_.passage_tokens));
  haystack.read(random.below(haystack.token_count()), passage.tokens);

  const int64_t known = random.below(most_known);
  text.repeat = (chunks - 1) * chunk_text - known;
  text.first_occurrence = random.below(text.passage_room - settings_.passage_tokens + 1);
  const int64_t repeated = std::min(settings_.passage_tokens, known + 2 * chunk_text);
  text.text_tokens = text.repeat + repeated;
  data::TextEdit repeat{text.repeat, {passage.tokens.begin(), passage.tokens.begin() + repeated}};
  passage.first = text.first_occurrence;
  text.edits = {std::move(passage), std::move(repeat)};
  return text;
}

data::Batch RecallTask::batch(int64_t first, int64_t rows, int64_t chunks, const data::Haystack& haystack,
                              const data::ChunkLayout& layout) const {
  data::Batch batch;
  batch.rows = rows;
  batch.length = layout.length_of((chunks + 1) * settings_.chunk_text);
  batch.ids.assign(static_cast<size_t>(rows * batch.length), 0);
  batch.targets.assign(static_cast<size_t>(rows * batch.length), data::kNoTarget);
  for (int64_t row = 0; row < rows; ++row) {
    const RecallText text = this->text(first + row, chunks, haystack);
    std::vector<int32_t> tokens(static_cast<size_t>(text.text_tokens));
    haystack.read(text.haystack_first, tokens);
    data::apply_edits(text.edits, 0, tokens);
    const data::LaidOutText laid_out = data::lay_out(tokens, data::kNoTarget, layout);
    std::copy(laid_out.ids.begin(), laid_out.ids.end(), batch.ids.begin() + row * batch.length);
    for (int64_t j = text.repeat + kUncertain; j < text.text_tokens; ++j) {
      const int64_t position = layout.position_of(j - 1);
      batch.targets[static_cast<size_t>(row * batch.length + position)] =
          laid_out.targets[static_cast<size_t>(position)];
      ++batch.target_count;
    }
    batch.text_tokens += text.text_tokens;
  }
  return batch;
}

std::string RecallTask::fingerprint() const {
  return fmt::format("recall/2 chunk_text={} passage={}", settings_.chunk_text, settings_.passage_tokens);
}

}  // namespace gca::tasks
