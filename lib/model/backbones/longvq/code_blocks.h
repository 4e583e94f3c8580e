#pragma once
// Positions cut into blocks that read one state of the codes together. Keys that leave the window within a
// block are read one by one until its end, and added to the codes after it. Knows no LibTorch.

#include <algorithm>
#include <cstdint>

namespace gca::model {

struct CodeBlock {
  static constexpr int64_t kPositions = 128;

  int64_t begin, end;     ///< its positions
  int64_t leaving, left;  ///< keys from `leaving` to before `left` are added to the codes after it

  /// Some keys have been added to the codes before.
  bool reads_codes() const { return leaving > 0; }
  /// The last so many of its positions see the first one, two, .. of the keys that leave.
  int64_t late_positions() const { return std::max<int64_t>(0, left - leaving - 1); }
};

/// Calls body(block) for the blocks of the `count` positions after `position` others, in order: those that a key
/// leaves.
template <class Body>
void for_each_code_block(int64_t position, int64_t count, int64_t window, const Body& body) {
  for (int64_t begin = position; begin < position + count; begin += CodeBlock::kPositions) {
    const int64_t end = std::min(position + count, begin + CodeBlock::kPositions);
    const int64_t leaving = std::max<int64_t>(0, begin - window);
    const int64_t left = end - window;
    if (left > leaving) body(CodeBlock{begin, end, leaving, left});
  }
}

}  // namespace gca::model
