#include "lib/bench/random_text.h"

#include "kernels/common/philox.h"

namespace gca::bench {

std::vector<int32_t> random_text(uint64_t seed, int64_t row, int64_t count, int64_t vocab_size,
                                 const data::ChunkLayout& layout) {
  const bool skips_landmark = layout.has_landmarks() && layout.landmark_id < vocab_size;
  const auto choices = static_cast<uint64_t>(vocab_size - skips_landmark);
  std::vector<int32_t> text;
  text.reserve(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; ++j) {
    const PhiloxBlock block =
        philox_block(seed, RandomStream::task, static_cast<uint64_t>(row), static_cast<uint64_t>(j));
    auto id = static_cast<int64_t>((uint64_t{block.word[0]} * choices) >> 32);
    if (skips_landmark && id >= layout.landmark_id) ++id;
    text.push_back(static_cast<int32_t>(id));
  }
  return text;
}

data::Batch random_batch(uint64_t seed, int64_t first, int64_t rows, int64_t T, int64_t vocab_size,
                         const data::ChunkLayout& layout) {
  data::Batch batch;
  batch.rows = rows;
  batch.length = layout.length_of(T);
  for (int64_t row = first; row < first + rows; ++row) {
    std::vector<int32_t> text = random_text(seed, row, T + 1, vocab_size, layout);
    const int64_t next = text.back();
    text.pop_back();
    const data::LaidOutText laid_out = data::lay_out(text, next, layout);
    batch.ids.insert(batch.ids.end(), laid_out.ids.begin(), laid_out.ids.end());
    batch.targets.insert(batch.targets.end(), laid_out.targets.begin(), laid_out.targets.end());
    batch.text_tokens += T;
    batch.target_count += T;
  }
  return batch;
}

}  // namespace gca::bench
