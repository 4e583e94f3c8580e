#pragma once
// A shuffle that is a pure function of (seed, step): no generator state to save.

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/common/philox.h"

namespace gca::data {

/// The step that decides which documents are held out; epochs of training count from 0.
inline constexpr uint64_t kSplitOrder = 0xFFFFFFFF;

/// A permutation of 0..count-1 by Fisher and Yates.
inline std::vector<int64_t> philox_permutation(int64_t count, uint64_t seed, uint64_t step) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = order.size(); i > 1; --i) {
    const PhiloxBlock block = philox_block(seed, RandomStream::data_order, step, i);
    const uint64_t bits = uint64_t{block.word[0]} << 32 | block.word[1];
    std::swap(order[i - 1], order[bits % i]);  // bias below i / 2^64
  }
  return order;
}

}  // namespace gca::data
