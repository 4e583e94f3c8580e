#pragma once
// Text that means nothing: uniform ids, for work whose cost does not depend on what is read.

#include <cstdint>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/data/sequence_loader.h"

namespace gca::bench {

/// `count` ids in [0, vocab_size) without the landmark's, a pure function of (seed, row).
std::vector<int32_t> random_text(uint64_t seed, int64_t row, int64_t count, int64_t vocab_size,
                                 const data::ChunkLayout& layout);

/// Sequences [first, first + rows) of T text tokens, each predicting the next.
data::Batch random_batch(uint64_t seed, int64_t first, int64_t rows, int64_t T, int64_t vocab_size,
                         const data::ChunkLayout& layout);

}  // namespace gca::bench
