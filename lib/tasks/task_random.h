#pragma once
// The random choices of one sequence of a task, drawn in order: a pure function of (seed, number).

#include <cstdint>

#include "kernels/common/philox.h"

namespace gca::tasks {

class TaskRandom {
 public:
  /// Numbers below 2^32.
  TaskRandom(uint64_t seed, int64_t number) : seed_(seed), number_(static_cast<uint64_t>(number)) {}

  /// Uniform in [0, n), n > 0.
  int64_t below(int64_t n) {
    const PhiloxBlock block = philox_block(seed_, RandomStream::task, number_, draws_++);
    const uint64_t word = uint64_t{block.word[0]} << 32 | block.word[1];
    return static_cast<int64_t>((static_cast<unsigned __int128>(word) * static_cast<uint64_t>(n)) >> 64);
  }

 private:
  uint64_t seed_;
  uint64_t number_;
  uint64_t draws_ = 0;
};

}  // namespace gca::tasks
