#include "lib/tasks/self_copy/self_copy_task.h"

#include <algorithm>
#include <vector>

#include "kernels/common/philox.h"
#include "lib/core/error.h"

namespace gca::tasks {
namespace {

bool has_landmark_among(const SelfCopySettings& settings, const data::ChunkLayout& layout) {
  return layout.landmark_id >= 0 && layout.landmark_id < settings.ids;
}

}  // namespace

SelfCopyTask::SelfCopyTask(SelfCopySettings settings, data::ChunkLayout layout)
    : settings_(settings), layout_(layout) {
  if (settings_.passage_tokens < 2)
    fail_usage("self-copy task", "the passage has fewer than two tokens", "raise copy_chunks or chunk_size");
  if (settings_.ids - has_landmark_among(settings_, layout_) < 2)
    fail_usage("self-copy task", "the vocabulary has fewer than two text tokens", "raise vocab_size");
}

data::Batch SelfCopyTask::batch(int64_t first, int64_t rows) const {
  const int64_t half = settings_.passage_tokens;
  const int64_t length = text_tokens();
  const bool skips_landmark = has_landmark_among(settings_, layout_);
  const auto choices = static_cast<uint64_t>(settings_.ids - skips_landmark);

  data::Batch batch;
  batch.rows = rows;
  batch.length = layout_.length_of(length);
  std::vector<int32_t> text(static_cast<size_t>(length));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < length - half; ++j) {
      const PhiloxBlock block = philox_block(settings_.seed, RandomStream::task,
                                             static_cast<uint64_t>(first + row), static_cast<uint64_t>(j));
      auto id = static_cast<int64_t>((uint64_t{block.word[0]} * choices) >> 32);
      if (skips_landmark && id >= layout_.landmark_id) ++id;
      text[static_cast<size_t>(j)] = static_cast<int32_t>(id);
    }
    // What stands between passage and repeat is drawn from numbers that no token is drawn by.
    const PhiloxBlock block = philox_block(settings_.seed, RandomStream::task,
                                           static_cast<uint64_t>(first + row), static_cast<uint64_t>(length));
    const auto gap =
        static_cast<int64_t>((uint64_t{block.word[0]} * static_cast<uint64_t>(settings_.shift_tokens)) >> 32);
    const int64_t repeat = half + gap;
    // What was drawn for a longer gap stands behind the repeat.
    std::copy_backward(text.begin() + repeat, text.end() - half, text.end());
    std::copy_n(text.begin(), half, text.begin() + repeat);
    data::LaidOutText laid_out = data::lay_out(text, data::kNoTarget, layout_);
    // Predictions made before the repeat's first token is known are not copying.
    const int64_t repeat_begin = layout_.position_of(repeat);
    for (int64_t p = 0; p < repeat_begin; ++p) laid_out.targets[static_cast<size_t>(p)] = data::kNoTarget;
    for (int64_t p = layout_.position_of(repeat + half - 1); p < batch.length; ++p)
      laid_out.targets[static_cast<size_t>(p)] = data::kNoTarget;
    batch.ids.insert(batch.ids.end(), laid_out.ids.begin(), laid_out.ids.end());
    batch.targets.insert(batch.targets.end(), laid_out.targets.begin(), laid_out.targets.end());
    batch.text_tokens += length;
    batch.target_count += half - 1;
  }
  return batch;
}

double SelfCopyTask::chance() const {
  return 1.0 / static_cast<double>(settings_.ids - has_landmark_among(settings_, layout_));
}

std::string SelfCopyTask::fingerprint() const {
  return "self-copy/1 passage_tokens=" + std::to_string(settings_.passage_tokens) +
         " ids=" + std::to_string(settings_.ids) + " chunk_size=" + std::to_string(layout_.chunk_size) +
         (settings_.shift_tokens > 0 ? " shift_tokens=" + std::to_string(settings_.shift_tokens) : "");
}

}  // namespace gca::tasks
