#pragma once
// What a model remembers of a text between two segments.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "lib/model/layers/window_cache.h"
#include "lib/model/memory/chunk_memory.h"

namespace gca {

/// The retrieval that serves the chunk now open, per group.
struct OpenRetrieval {
  at::Tensor idx;      ///< (B, 1, K) int32; undefined before the first landmark
  at::Tensor weights;  ///< (B, 1, K) float32
  ChunkView chunks;    ///< what idx reads, once a decoding step has asked for it; undefined before
};

/// State after any number of positions. A default-constructed state is the empty past. Copying with clone()
/// is deep where a later forward would write.
struct DrtState {
  int64_t position = 0;              ///< positions seen, landmarks included
  std::vector<WindowCache> windows;  ///< one per decoder layer, lower first
  at::Tensor open_chunk;  ///< (B, position % S, d): lower decoder's output of the chunk not yet closed
  std::vector<OpenRetrieval> open_retrieval;  ///< per group
  std::unique_ptr<ChunkMemory> memory;        ///< made by the first forward when null

  DrtState clone() const;
};

}  // namespace gca
