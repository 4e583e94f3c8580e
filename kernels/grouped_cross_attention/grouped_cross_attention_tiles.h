#pragma once
// How grouped cross-attention on a CPU is cut into tiles, and how tensors enter and leave them.
//
// A tile: up to 96 queries of one reading row and one key/value head (the query heads that share it stand
// together) against the M keys of one chunk. Scores are kept transposed, a row a key, and so are the sums
// over chunks, a row an element of the head: every factor of a query then multiplies columns.

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "kernels/common/tile_math.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_versions.h"

namespace gca::kernels::grouped {

inline constexpr int64_t kMaxTileQueries = 96;
// Up to so many queries are read key by key: a tile would be mostly padding.
inline constexpr int64_t kFewQueries = 4;

struct Sizes {
  int64_t batch, positions, heads, head_dim;
  int64_t chunks, keys, kv_heads;
  int64_t rows, slots;
  int64_t heads_per_kv;
  int64_t head_columns;   // head_dim, padded
  int64_t key_rows;       // keys, padded: rows of a chunk's tiles
  int64_t tile_queries;   // queries of a full tile, a multiple of kTileColumns
  int64_t tiles_per_row;  // of a full row
  ReadingLayout layout;
  float scale;
  bool softmax_one;

  Sizes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& idx, const GcaOptions& options)
      : batch(q.size(0)),
        positions(q.size(1)),
        heads(q.size(2)),
        head_dim(q.size(3)),
        chunks(k.size(1)),
        keys(k.size(2)),
        kv_heads(k.size(3)),
        rows(idx.size(1)),
        slots(idx.size(2)),
        heads_per_kv(heads / kv_heads),
        head_columns(padded_columns(head_dim)),
        key_rows(padded_columns(keys)),
        layout(options.layout),
        scale(static_cast<float>(options.scale)),
        softmax_one(options.softmax_one) {
    const int64_t row_queries = std::min(layout.chunk_size, positions) * heads_per_kv;
    const int64_t tiles = std::max<int64_t>(1, (row_queries + kMaxTileQueries - 1) / kMaxTileQueries);
    tile_queries = padded_columns((row_queries + tiles - 1) / tiles);
    tiles_per_row = tile_queries == 0 ? 0 : (row_queries + tile_queries - 1) / tile_queries;
  }

  int64_t first_position(int64_t row) const {
    return std::max<int64_t>(0, row * layout.chunk_size - layout.first_offset);
  }
  int64_t row_queries(int64_t row) const {
    return (std::min((row + 1) * layout.chunk_size - layout.first_offset, positions) - first_position(row)) *
           heads_per_kv;
  }
};

/// Queries [first, first + count) of a reading row under one key/value head; heads run faster than positions.
struct Tile {
  int64_t batch, row, kv_head;
  int64_t first, count;
  int64_t columns;  // count, padded
};

inline Tile tile_of_row(const Sizes& sizes, int64_t batch, int64_t row, int64_t kv_head, int64_t number) {
  const int64_t first = number * sizes.tile_queries;
  const int64_t count = std::min(sizes.tile_queries, sizes.row_queries(row) - first);
  return {batch, row, kv_head, first, count, padded_columns(std::max<int64_t>(count, 0))};
}

/// Calls `body(i, count, first, step)` for runs of queries of a tile: queries i to i + count have their rows
/// in `view` at `first` and every `step` elements on. One run where a key/value head has one query head, else
/// one a position.
template <typename View, typename Body>
void for_each_query_run(const Sizes& sizes, const View& view, const Tile& tile, Body body) {
  const int64_t position = sizes.first_position(tile.row);
  if (sizes.heads_per_kv == 1) {
    body(0, tile.count, view(tile.batch, position + tile.first, tile.kv_head), view.stride(1));
    return;
  }
  for (int64_t i = 0; i < tile.count;) {
    const int64_t query = tile.first + i, head = query % sizes.heads_per_kv;
    const int64_t count = std::min(sizes.heads_per_kv - head, tile.count - i);
    body(i, count,
         view(tile.batch, position + query / sizes.heads_per_kv, tile.kv_head * sizes.heads_per_kv + head),
         view.stride(2));
    i += count;
  }
}

/// Rows (queries x dh) of a tile, as elements of the tile arithmetic.
template <typename T, typename Math>
void load_queries(const Math& math, const Sizes& sizes, const RowView<const T, 3>& view, const Tile& tile,
                  typename Math::Element* to) {
  for_each_query_run(sizes, view, tile, [&](int64_t i, int64_t count, const T* first, int64_t step) {
    math.load_rows(count, sizes.head_dim, first, step, to + i * sizes.head_columns, sizes.head_columns);
  });
}

/// Rows (queries x dh) from floats.
template <typename T>
void store_queries(const TileKernels& floats, const Sizes& sizes, const float* from,
                   const RowView<T, 3>& view, const Tile& tile) {
  for_each_query_run(sizes, view, tile, [&](int64_t i, int64_t count, T* first, int64_t step) {
    store_tile(floats, count, sizes.head_dim, from + i * sizes.head_columns, sizes.head_columns, first, step);
  });
}

}  // namespace gca::kernels::grouped
