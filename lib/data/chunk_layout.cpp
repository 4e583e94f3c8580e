#include "lib/data/chunk_layout.h"

namespace gca::data {

LaidOutText lay_out(std::span<const int32_t> text, int64_t next, const ChunkLayout& layout) {
  const auto text_count = static_cast<int64_t>(text.size());
  const int64_t length = layout.length_of(text_count);
  LaidOutText result;
  result.ids.assign(static_cast<size_t>(length), layout.landmark_id);
  result.targets.assign(static_cast<size_t>(length), kNoTarget);
  for (int64_t j = 0; j < text_count; ++j) {
    const auto position = static_cast<size_t>(layout.position_of(j));
    result.ids[position] = text[static_cast<size_t>(j)];
    result.targets[position] = j + 1 < text_count ? text[static_cast<size_t>(j) + 1] : next;
  }
  return result;
}

}  // namespace gca::data
