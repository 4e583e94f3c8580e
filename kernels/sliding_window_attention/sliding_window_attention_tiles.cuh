#pragma once
// What the kernels of sliding-window attention share.
//
// ALiBi's bias slope (j - i) splits into a part of the key and one of the query. The softmax of a row does
// not see the latter, so the forward adds only the key's; lse gets the query's at the end. Everything is in
// powers of 2: scores and slopes times log2 e.

#include "kernels/common/cuda/row_tiles.cuh"
#include "kernels/sliding_window_attention/sliding_window_attention_cuda.h"

namespace gca::cuda {

/// Copies rows [first, first + kRows) of one head by a whole block; rows at or after `end` become 0.
template <int kHeadDim, int kRows, int kThreads>
__device__ __forceinline__ void copy_positions(uint32_t tile, const Bf16* from, int64_t stride, int first,
                                               int end) {
  using Tile = SharedTile<kHeadDim>;
  const int unit = threadIdx.x % Tile::kUnits;
  constexpr int kRowsAStep = kThreads / Tile::kUnits;
  const Bf16* row_from = from + (first + static_cast<int>(threadIdx.x) / Tile::kUnits) * stride + unit * 8;
#pragma unroll
  for (int i = 0; i < kRows / kRowsAStep; ++i) {
    const int row = i * kRowsAStep + threadIdx.x / Tile::kUnits;
    const uint32_t to = tile + Tile::offset(row, unit);
    if (first + row < end) {
      copy_async(to, row_from);
    } else {
      store_shared(to, uint4{0, 0, 0, 0});
    }
    row_from += kRowsAStep * stride;
  }
}

}  // namespace gca::cuda
