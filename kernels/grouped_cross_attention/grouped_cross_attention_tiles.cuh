#pragma once
// What the tensor-core kernels of grouped cross-attention share: which query a row of a tile is, and how rows
// come and go.

#include "kernels/common/cuda/row_tiles.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_cuda.h"

namespace gca::cuda {

/// A query of a reading row: head of the group and place in the chunk; head < 0 for none.
struct RowPair {
  int head, place;
};

/// The queries that read with one list, numbered heads first: row = head * S + place.
struct ReadingRow {
  int before;      ///< position at place 0, negative where the run begins inside the chunk
  int begin, end;  ///< places that are positions
  int group, chunk_size;
  uint32_t inverse;  ///< 2^32 / S: division by multiplication

  __device__ __forceinline__ ReadingRow(const GcaShape& shape, int row)
      : before(row * shape.chunk_size - shape.first_offset),
        begin(max(0, -before)),
        end(min(shape.chunk_size, shape.positions - before)),
        group(shape.heads / shape.kv_heads),
        chunk_size(shape.chunk_size),
        inverse(0xFFFFFFFFU / static_cast<uint32_t>(shape.chunk_size) + 1) {}

  /// Elements from place 0 of the group's first head to a row; they fit 32 bits. Negative for a row without a query.
  __device__ __forceinline__ int offset(int row, const GcaStrides& strides) const {
    const RowPair at = pair(row);
    return at.head < 0
               ? -1
               : at.place * static_cast<int>(strides.position) + at.head * static_cast<int>(strides.head);
  }

  __device__ __forceinline__ RowPair pair(int row) const {
    const int head = static_cast<int>(__umulhi(static_cast<uint32_t>(row), inverse));
    const int place = row - head * chunk_size;
    return {head < group && place >= begin && place < end ? head : -1, place};
  }
};

/// Copies a chunk's rows of one head into a tile; thread t of `threads` (a multiple of 64) takes unit t % kUnits.
template <int kHeadDim, int kUnrolled = 4>
__device__ __forceinline__ void copy_chunk(uint32_t tile, const Bf16* from, int64_t row_stride, int rows,
                                           int thread, int threads) {
  using Tile = SharedTile<kHeadDim>;
  const int rows_a_step = threads / Tile::kUnits;
  int row = thread / Tile::kUnits;
  const int unit = thread % Tile::kUnits;
  // Rows a multiple of 8 (times the fold) apart have their units at the same places.
  uint32_t to = tile + Tile::offset(row, unit);
  from += row * row_stride + unit * 8;
  const int64_t step = rows_a_step * row_stride;
#pragma unroll kUnrolled
  for (; row < rows; row += rows_a_step) {
    copy_async(to, from);
    to += rows_a_step * Tile::kRowBytes;
    from += step;
  }
}

/// Rows beyond the chunk, of `tiles` tiles one after the other: 0 once, as nothing ever overwrites them.
/// Their probability is 0, and so must be what it multiplies.
template <int kHeadDim, int kKeys>
__device__ __forceinline__ void zero_tail_rows(uint8_t* first_tile, int tiles, int keys, int threads) {
  using Tile = SharedTile<kHeadDim>;
  const int tail_units = (kKeys - keys) * Tile::kUnits;
  for (int i = threadIdx.x; i < tail_units; i += threads) {
    uint8_t* place = first_tile + Tile::offset(keys + i / Tile::kUnits, i % Tile::kUnits);
    for (int tile = 0; tile < tiles; ++tile)
      *reinterpret_cast<uint4*>(place + tile * kKeys * Tile::kRowBytes) = uint4{0, 0, 0, 0};
  }
}

}  // namespace gca::cuda
