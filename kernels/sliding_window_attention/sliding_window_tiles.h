#pragma once
// How sliding-window attention on a CPU is cut into tiles, and how tensors enter and leave them.
//
// A tile: 64 queries against 64 keys of one head. Key tiles stand at the same 64-position grid as query
// tiles, and a query tile visits those that its window touches, W / 64 + 1 of them for W a multiple of 64; of
// the two at the window's ends only the blocks that hold a visible pair are computed.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <vector>

#include "kernels/common/tile_math.h"
#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels::window {

inline constexpr int64_t kTile = 64;
// Up to so many queries are answered key by key: a tile would be mostly padding.
inline constexpr int64_t kFewQueries = 4;

inline int64_t floor_divide(int64_t value, int64_t divisor) {
  return value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
}

struct Sizes {
  int64_t batch, positions, heads, head_dim;
  int64_t past;          // P
  int64_t window;        // W, at most P + n
  int64_t head_columns;  // head_dim, padded
  int64_t tiles;         // query tiles
  float scale;

  Sizes(const at::Tensor& q, const at::Tensor& k, int64_t window_size, double score_scale)
      : batch(q.size(0)),
        positions(q.size(1)),
        heads(q.size(2)),
        head_dim(q.size(3)),
        past(k.size(1) - positions),
        window(std::min(window_size, k.size(1))),
        head_columns(padded_columns(head_dim)),
        tiles((positions + kTile - 1) / kTile),
        scale(static_cast<float>(score_scale)) {}

  /// Key tiles are numbered on the grid of the query tiles: tile u holds keys P + 64 u and on; those of the
  /// past have negative numbers.
  int64_t first_key_tile_of_query_tile(int64_t tile) const {
    return std::max(floor_divide(tile * kTile - window, kTile), first_key_tile());
  }
  int64_t first_key_tile() const { return floor_divide(first_key() - past, kTile); }
  /// The first key that any query sees; those before it may hold anything.
  int64_t first_key() const { return std::max<int64_t>(0, past - window); }
  int64_t last_query_tile_of_key_tile(int64_t tile) const {
    return std::min(floor_divide(tile * kTile + kTile - 1 + window, kTile), tiles - 1);
  }
};

/// A run of positions or keys of one head.
struct Tile {
  int64_t batch = 0, head = 0;
  int64_t first = 0, count = 0;
};

inline Tile query_tile(const Sizes& sizes, int64_t batch, int64_t head, int64_t number) {
  const int64_t first = number * kTile;
  return {batch, head, first, std::min(kTile, sizes.positions - first)};
}

inline Tile key_tile(const Sizes& sizes, int64_t batch, int64_t head, int64_t number) {
  const int64_t first = std::max(sizes.first_key(), sizes.past + number * kTile);
  const int64_t end = std::min(sizes.past + sizes.positions, sizes.past + (number + 1) * kTile);
  return {batch, head, first, end - first};
}

struct Span {
  int64_t first, end;
  int64_t count() const { return end - first; }
};

/// A tile of queries against a tile of keys, and which blocks of that square hold a pair (i, j) with 0 <=
/// distance <= W, distance = first_distance + i - j. Scores outside visible blocks are neither computed nor read.
struct TilePair {
  Tile queries, keys;
  int64_t columns;         // queries.count, padded
  int64_t first_distance;  // position of the first query less that of the first key
  int64_t window;
  int64_t block;  // queries or keys of a block: the whole tile where every pair is visible

  TilePair(const Sizes& sizes, const Tile& query_tile, const Tile& key_tile, int64_t block_size)
      : queries(query_tile),
        keys(key_tile),
        columns(padded_columns(queries.count)),
        first_distance(sizes.past + queries.first - keys.first),
        window(sizes.window) {
    const bool all_visible = first_distance >= keys.count - 1 && first_distance + queries.count - 1 <= window;
    block = all_visible ? kTile : block_size;
  }

  /// Keys that a query of the block beginning at i sees.
  Span keys_of_queries(int64_t i) const {
    return in_blocks(first_distance + i - window, first_distance + i + block, keys.count);
  }
  /// Queries that see a key of the block beginning at j.
  Span queries_of_keys(int64_t j) const {
    return in_blocks(j - first_distance, window - first_distance + j + block, queries.count);
  }

 private:
  /// The blocks that hold [first, end), within [0, count).
  Span in_blocks(int64_t first, int64_t end, int64_t count) const {
    const int64_t low = std::max<int64_t>(first, 0) / block * block;
    const int64_t high = std::min((std::max<int64_t>(end, 0) + block - 1) / block * block, count);
    return {low, std::max(low, high)};
  }
};

/// Calls `body(block)` for each block of queries of a pair that sees a key, with the keys that it sees.
template <typename Body>
void for_each_query_block(const TilePair& pair, Body body) {
  for (int64_t i = 0; i < pair.columns; i += pair.block) {
    const Span visible = pair.keys_of_queries(i);
    if (visible.count() > 0)
      body(ScoreBlock{visible.first, visible.count(), i, std::min(pair.block, pair.columns - i)});
  }
}

/// score (keys x queries) = left (keys x dh) right (dh x queries), visible blocks only.
template <typename Math, typename Element>
void score_product(const Math& math, const Sizes& sizes, const TilePair& pair,
                   const LeftOperand<Element>& rows, const Element* right, float* score) {
  for_each_query_block(pair, [&](const ScoreBlock& block) {
    math.product(block.keys, block.queries, sizes.head_dim, rows.from(block.first_key, 0),
                 math.right_from(right, pair.columns, 0, block.first_query), pair.columns,
                 score + block.offset(pair.columns), pair.columns, false);
  });
}

/// to (dh x queries) = or += left (dh x keys) right (keys x queries), visible blocks only.
template <typename Math, typename Element>
void add_to_queries(const Math& math, const Sizes& sizes, const TilePair& pair,
                    const LeftOperand<Element>& left, const Element* right, float* to, bool add) {
  for_each_query_block(pair, [&](const ScoreBlock& block) {
    math.product(sizes.head_dim, block.queries, block.keys, left.from(0, block.first_key),
                 math.right_from(right, pair.columns, block.first_key, block.first_query), pair.columns,
                 to + block.first_query, pair.columns, add);
  });
}

/// to (keys x dh) += left (keys x queries) right (queries x dh), visible blocks only.
template <typename Math, typename Element>
void add_to_keys(const Math& math, const Sizes& sizes, const TilePair& pair, const LeftOperand<Element>& left,
                 const Element* right, float* to) {
  for (int64_t j = 0; j < pair.keys.count; j += pair.block) {
    const Span visible = pair.queries_of_keys(j);
    if (visible.count() == 0) continue;
    math.product(std::min(pair.block, pair.keys.count - j), sizes.head_columns, visible.count(),
                 left.from(j, visible.first), math.right_from(right, sizes.head_columns, visible.first, 0),
                 sizes.head_columns, to + j * sizes.head_columns, sizes.head_columns, true);
  }
}

/// Rows of a tile, as elements of the tile arithmetic.
template <typename T, typename Math>
void load(const Math& math, const Sizes& sizes, const RowView<const T, 3>& view, const Tile& tile,
          typename Math::Element* to) {
  math.load_rows(tile.count, sizes.head_dim, view(tile.batch, tile.first, tile.head), view.stride(1), to,
                 sizes.head_columns);
}

template <typename T>
void store(const TileKernels& floats, const Sizes& sizes, const float* from, const RowView<T, 3>& view,
           const Tile& tile) {
  store_tile(floats, tile.count, sizes.head_dim, from, sizes.head_columns,
             view(tile.batch, tile.first, tile.head), view.stride(1));
}

/// Which of keys and values is needed transposed, too: values forward, keys backward.
enum class Transposed { values, keys };

/// Key and value tiles as operands, kept from one query tile to the next: neighbours share all of them but one.
template <typename T, typename Math>
class KeyTiles {
 public:
  using Element = typename Math::Element;

  KeyTiles(const Math& math, const Sizes& sizes, const RowView<const T, 3>& k, const RowView<const T, 3>& v,
           Transposed transposed)
      : math_(math),
        sizes_(sizes),
        k_(k),
        v_(v),
        transposed_(transposed),
        places_(std::min(sizes.window / kTile + 2, kMaxPlaces)),
        tile_size_(kTile * sizes.head_columns),
        held_(static_cast<size_t>(places_)) {}

  /// Left operands: keys and values (keys x dh), and one of them transposed (dh x keys). Valid until the next call.
  struct Operands {
    LeftOperand<Element> keys, values, transposed;
  };
  Operands operands(int64_t number, const Tile& tile) {
    if (!keys_.data()) {
      keys_ = TileBuffer<Element>(places_ * tile_size_);
      values_ = TileBuffer<Element>(places_ * tile_size_);
      packed_ = TileBuffer<Element>(places_ * tile_size_);
    }
    const int64_t place = (number % places_ + places_) % places_;
    Element* keys = keys_.data() + place * tile_size_;
    Element* values = values_.data() + place * tile_size_;
    Place& held = held_[static_cast<size_t>(place)];
    if (held.tile.batch != tile.batch || held.tile.head != tile.head || held.tile.first != tile.first ||
        held.tile.count != tile.count) {
      const auto rows = [&](const RowView<const T, 3>& view, Element* memory) {
        return math_.rows_left(tile.count, sizes_.head_dim, view(tile.batch, tile.first, tile.head),
                               view.stride(1), memory, sizes_.head_columns);
      };
      held.tile = tile;
      held.operands.keys = rows(k_, keys);
      held.operands.values = rows(v_, values);
      held.operands.transposed =
          math_.left_transposed(tile.count, sizes_.head_dim,
                                transposed_ == Transposed::values ? held.operands.values : held.operands.keys,
                                packed_.data() + place * tile_size_);
    }
    return held.operands;
  }

 private:
  // A window of 4096 positions; a longer one would not stay in the second-level cache anyway.
  static constexpr int64_t kMaxPlaces = 66;

  struct Place {
    Tile tile;  // no count: nothing yet
    Operands operands{};
  };

  const Math& math_;
  const Sizes& sizes_;
  const RowView<const T, 3>&k_, &v_;
  Transposed transposed_;
  int64_t places_, tile_size_;
  TileBuffer<Element> keys_, values_, packed_;  // allocated by the first use: single queries need none
  std::vector<Place> held_;
};

}  // namespace gca::kernels::window
