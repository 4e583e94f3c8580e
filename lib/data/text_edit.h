#pragma once
// Changes to a text that keep its length: what is planted replaces as many tokens, so that all else stays
// where it was.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace gca::data {

/// text[first, first + size) becomes `tokens`.
struct TextEdit {
  int64_t first = 0;
  std::vector<int32_t> tokens;

  int64_t end() const { return first + static_cast<int64_t>(tokens.size()); }
};

/// Makes `edits` in `text`, which holds the tokens from number `first` on.
inline void apply_edits(std::span<const TextEdit> edits, int64_t first, std::span<int32_t> text) {
  const int64_t end = first + static_cast<int64_t>(text.size());
  for (const TextEdit& edit : edits) {
    const int64_t from = std::max(first, edit.first);
    const int64_t to = std::min(end, edit.end());
    if (from >= to) continue;
    std::copy(edit.tokens.begin() + (from - edit.first), edit.tokens.begin() + (to - edit.first),
              text.begin() + (from - first));
  }
}

}  // namespace gca::data
