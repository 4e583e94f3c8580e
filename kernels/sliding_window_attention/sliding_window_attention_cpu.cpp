// Sliding-window attention on a CPU.
//
//   s_ij = q_i . k_j * scale - slope_h (i - j)   for 0 <= i - j <= W, else -inf
//   out_i = softmax_j(s_ij) v_j
//
// The unit of work is a tile of 64 queries against 64 keys of one head. Its two products forward and five
// backward bound the speed: a tile's operands lie in the first- and second-level cache, so the multiply-add
// units are the limit; the exponentials cost about a tenth. Key tiles stand at the same 64-position grid as
// query tiles, and a query tile visits those that its window touches, W / 64 + 1 of them for W a multiple of
// 64; of the two at the window's ends only the blocks that hold a visible pair are computed. A single query
// (decoding) is bound by reading W keys and values once.
//
//   float32     tiles in float32
//   bfloat16    on a processor that multiplies bf16, tiles in bf16: probabilities and dS are rounded on their
//               way into a product; elsewhere tiles in float32, and nothing is rounded
//
// Forward keeps a running maximum and sum a query; the tile of the query's own position comes first, so that
// the maximum is finite from the start, and with it the nearest keys, which the bias favours: later tiles
// seldom raise the maximum, and what was summed is scaled only when they do. Backward rebuilds p from lse;
// with D_i = <dO_i, out_i>:
//
//   dV_j += p_ij dO_i   dS_ij = p_ij (<dO_i, v_j> - D_i)   dq_i += dS_ij k_j scale   dk_j += dS_ij q_i scale
//
// Two orders of work give the same bits, because dk and dv are summed over query tiles from first to last in
// both:
//
//   by head      a thread owns a (batch, head) and walks its query tiles once: 5 products a tile
//   by query tile and by key tile   7 products, but any number of threads has work
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/tile_math.h"
#include "kernels/sliding_window_attention/sliding_window_attention_versions.h"

namespace gca::kernels {
namespace {

constexpr int64_t kTile = 64;
// Up to so many queries are answered key by key: a tile would be mostly padding.
constexpr int64_t kFewQueries = 4;

int64_t floor_divide(int64_t value, int64_t divisor) {
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

Tile query_tile(const Sizes& sizes, int64_t batch, int64_t head, int64_t number) {
  const int64_t first = number * kTile;
  return {batch, head, first, std::min(kTile, sizes.positions - first)};
}

Tile key_tile(const Sizes& sizes, int64_t batch, int64_t head, int64_t number) {
  const int64_t first = std::max(sizes.first_key(), sizes.past + number * kTile);
  const int64_t end = std::min(sizes.past + sizes.positions, sizes.past + (number + 1) * kTile);
  return {batch, head, first, end - first};
}

struct Span {
  int64_t first, end;
  int64_t count() const { return end - first; }
};

/// A tile of queries against a tile of keys, and which blocks of that square hold a pair (i, j) with 0 <=
/// distance <= W, distance = first_distance + i - j. Scores outside visible blocks are neither computed nor
/// read.
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

/// Key and value tiles as operands, kept from one query tile to the next: neighbours share all of them but
/// one.
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

  /// Left operands: keys and values (keys x dh), and one of them transposed (dh x keys). Valid until the next
  /// call.
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

template <typename T, typename Math>
class Forward {
 public:
  Forward(const Math& math, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
          const at::Tensor& slopes, at::Tensor& out, at::Tensor& lse, int64_t window, double scale)
      : math_(math),
        sizes_(q, k, window, scale),
        q_(q),
        k_(k),
        v_(v),
        slopes_(slopes),
        out_(out),
        lse_(lse) {}

  void run() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      const bool few = sizes_.positions <= kFewQueries;
      Scratch scratch(sizes_, few);
      KeyTiles<T, Math> tiles(math_, sizes_, k_, v_, Transposed::values);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t number = task % sizes_.tiles;
        const Tile queries = query_tile(sizes_, task / sizes_.tiles / sizes_.heads,
                                        task / sizes_.tiles % sizes_.heads, number);
        if (few) {
          for (int64_t i = 0; i < queries.count; ++i) attend_with_one_query(queries, i, scratch);
        } else {
          attend_with_tile(queries, number, tiles, scratch);
        }
      }
    });
  }

 private:
  using Element = typename Math::Element;

  struct Scratch {
    Scratch(const Sizes& sizes, bool few)
        : q(few ? 0 : kTile * sizes.head_columns),
          q_right(few ? 0 : kTile * sizes.head_columns),
          p(few ? 0 : kTile * kTile),
          score(few ? sizes.window + 1 : kTile * kTile),
          sum(few ? sizes.head_columns : kTile * sizes.head_columns),
          out(few ? sizes.head_columns : kTile * sizes.head_columns),
          largest(kTile),
          denominator(kTile),
          factor(kTile),
          unused(kTile) {}
    TileBuffer<Element> q, q_right, p;
    TileBuffer<float> score, sum, out, largest, denominator, factor, unused;
  };

  void attend_with_tile(const Tile& queries, int64_t number, KeyTiles<T, Math>& tiles, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = padded_columns(queries.count);
    load(math_, sizes_, q_, queries, s.q.data());
    const Element* right =
        math_.right_transposed(queries.count, sizes_.head_dim, s.q.data(), head_columns, s.q_right.data());
    std::fill_n(s.largest.data(), columns, -std::numeric_limits<float>::infinity());
    std::fill_n(s.denominator.data(), columns, 0.0F);
    const float slope = *slopes_(queries.head);

    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const TilePair pair(sizes_, queries, key_tile(sizes_, queries.batch, queries.head, other),
                          math_.block_columns());
      const auto operands = tiles.operands(other, pair.keys);
      score_product(math_, sizes_, pair, operands.keys, right, s.score.data());

      std::copy_n(s.largest.data(), columns, s.factor.data());
      for_each_query_block(pair, [&](const ScoreBlock& block) {
        floats_.window_score(block.keys, block.queries, s.score.data() + block.offset(columns), columns,
                             sizes_.scale, slope, pair.first_distance + block.first_query - block.first_key,
                             sizes_.window, s.largest.data() + block.first_query);
      });
      if (other != number && !std::equal(s.largest.data(), s.largest.data() + columns, s.factor.data()))
        scale_sums(columns, s);
      for_each_query_block(pair, [&](const ScoreBlock& block) {
        math_.probabilities(block, s.score.data(), columns, 1.0F, s.largest.data(), s.denominator.data(),
                            s.p.data());
      });
      add_to_queries(math_, sizes_, pair, operands.transposed,
                     math_.probabilities_operand(s.score.data(), s.p.data()), s.sum.data(), other != number);
    }
    finish(queries, columns, s);
  }

  /// What was summed under the old maximum, in factor, counts less under the new one.
  void scale_sums(int64_t columns, Scratch& s) const {
    floats_.exponential(1, columns, s.factor.data(), columns, 1.0F, s.largest.data(), s.unused.data());
    floats_.scale_columns(1, columns, s.denominator.data(), columns, s.factor.data());
    floats_.scale_columns(sizes_.head_dim, columns, s.sum.data(), columns, s.factor.data());
  }

  void finish(const Tile& queries, int64_t columns, Scratch& s) const {
    floats_.transpose(sizes_.head_dim, columns, s.sum.data(), columns, s.out.data(), sizes_.head_columns);
    for (int64_t i = 0; i < queries.count; ++i) s.factor.data()[i] = 1.0F / s.denominator.data()[i];
    floats_.scale_rows(queries.count, sizes_.head_columns, s.out.data(), sizes_.head_columns,
                       s.factor.data());
    store(floats_, sizes_, s.out.data(), out_, queries);
    floats_.logarithm(columns, s.denominator.data());
    float* lse = lse_(queries.batch, queries.head) + queries.first;
    for (int64_t i = 0; i < queries.count; ++i) lse[i] = s.largest.data()[i] + s.denominator.data()[i];
  }

  void attend_with_one_query(const Tile& queries, int64_t i, Scratch& s) const {
    const Tile query{queries.batch, queries.head, queries.first + i, 1};
    const int64_t last = sizes_.past + query.first;
    const int64_t first = std::max<int64_t>(0, last - sizes_.window);
    const int64_t keys = last + 1 - first;
    load_tile(floats_, 1, sizes_.head_dim, q_(query.batch, query.first, query.head), 0, s.out.data(),
              sizes_.head_columns);
    const float slope = *slopes_(query.head);
    const HeadRows<T> rows{k_(query.batch, first, query.head), v_(query.batch, first, query.head),
                           k_.stride(1), v_.stride(1), keys};
    const OneQueryScores scores{
        .scale = sizes_.scale, .bias = -slope * static_cast<float>(keys - 1), .bias_step = slope};
    std::fill_n(s.sum.data(), sizes_.head_dim, 0.0F);
    lse_(query.batch, query.head)[query.first] = read_with_one_query(
        floats_, sizes_.head_dim, s.out.data(), rows, scores, s.score.data(), s.sum.data());
    store(floats_, sizes_, s.sum.data(), out_, query);
  }

  const Math& math_;
  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> q_, k_, v_;
  RowView<const float, 1> slopes_;
  RowView<T, 3> out_;
  RowView<float, 2> lse_;
};

template <typename T, typename Math>
class Backward {
 public:
  Backward(const Math& math, const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
           const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse, const at::Tensor& slopes,
           at::Tensor& dq, at::Tensor& dk, at::Tensor& dv, int64_t window, double scale)
      : math_(math),
        sizes_(q, k, window, scale),
        dout_(dout),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        lse_(lse),
        slopes_(slopes),
        dq_(dq),
        dk_(dk),
        dv_(dv) {}

  void run() const {
    // 5 products a tile by head, 7 by query tile and by key tile: the cheaper one of the busiest thread.
    const int64_t heads = sizes_.batch * sizes_.heads;
    const int64_t threads = at::get_num_threads();
    const int64_t heads_of_busiest = (heads + threads - 1) / threads;
    if (5 * heads_of_busiest * threads <= 7 * heads) {
      run_by_head();
    } else {
      run_by_query_tile();
      run_by_key_tile();
    }
  }

 private:
  using Element = typename Math::Element;
  using Operands = typename KeyTiles<T, Math>::Operands;

  struct Scratch {
    Scratch(const Math& math, const Sizes& sizes)
        : q(kTile * sizes.head_columns),
          dout(kTile * sizes.head_columns),
          q_right(kTile * sizes.head_columns),
          dout_right(kTile * sizes.head_columns),
          q_depth(kTile * sizes.head_columns),
          dout_depth(kTile * sizes.head_columns),
          operands(math.gradient_scratch_size(kTile, kTile)),
          rows(kTile * sizes.head_columns),
          dout_rows(kTile * sizes.head_columns),
          dq(kTile * sizes.head_columns),
          p(kTile * kTile),
          ds(kTile * kTile),
          lse(kTile),
          delta(kTile) {}
    TileBuffer<Element> q, dout, q_right, dout_right, q_depth, dout_depth, operands;
    TileBuffer<float> rows, dout_rows, dq, p, ds, lse, delta;
    // Where the operands of the query tile at hand lie: depth dh, and depth queries.
    const Element *queries = nullptr, *douts = nullptr, *queries_depth = nullptr, *douts_depth = nullptr;
    ScoreGradientTiles<Element> gradients{};
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(math_, sizes_);
      KeyTiles<T, Math> tiles(math_, sizes_, k_, v_, Transposed::keys);
      const int64_t keys = sizes_.past + sizes_.positions;
      const TileBuffer<float> dk(keys * sizes_.head_columns), dv(keys * sizes_.head_columns);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / sizes_.heads, head = task % sizes_.heads;
        std::fill_n(dk.data(), keys * sizes_.head_columns, 0.0F);
        std::fill_n(dv.data(), keys * sizes_.head_columns, 0.0F);
        for (int64_t number = 0; number < sizes_.tiles; ++number) {
          query_tile_gradients(batch, head, number, tiles, scratch, [&](const TilePair& pair) {
            const int64_t offset = pair.keys.first * sizes_.head_columns;
            add_key_gradients(pair, scratch, dk.data() + offset, dv.data() + offset);
          });
        }
        scale_floats(sizes_.scale, keys * sizes_.head_columns, dk.data());
        const Tile all{batch, head, 0, keys};
        store(floats_, sizes_, dk.data(), dk_, all);
        store(floats_, sizes_, dv.data(), dv_, all);
      }
    });
  }

  void run_by_query_tile() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(math_, sizes_);
      KeyTiles<T, Math> tiles(math_, sizes_, k_, v_, Transposed::keys);
      for (int64_t task = begin; task < end; ++task) {
        query_tile_gradients(task / sizes_.tiles / sizes_.heads, task / sizes_.tiles % sizes_.heads,
                             task % sizes_.tiles, tiles, scratch, [](const TilePair&) {});
      }
    });
  }

  void run_by_key_tile() const {
    const int64_t first_key_tile = sizes_.first_key_tile();
    const int64_t key_tiles = sizes_.tiles - first_key_tile;
    at::parallel_for(0, sizes_.batch * sizes_.heads * key_tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(math_, sizes_);
      KeyTiles<T, Math> tiles(math_, sizes_, k_, v_, Transposed::keys);
      const int64_t tile_floats = kTile * sizes_.head_columns;
      const TileBuffer<float> dk(tile_floats), dv(tile_floats);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / key_tiles / sizes_.heads, head = task / key_tiles % sizes_.heads;
        const int64_t number = first_key_tile + task % key_tiles;
        const Tile keys = key_tile(sizes_, batch, head, number);
        std::fill_n(dk.data(), tile_floats, 0.0F);
        std::fill_n(dv.data(), tile_floats, 0.0F);
        for (int64_t other = std::max<int64_t>(number, 0);
             other <= sizes_.last_query_tile_of_key_tile(number); ++other) {
          const Tile queries = query_tile(sizes_, batch, head, other);
          load_queries(queries, scratch);
          const TilePair pair(sizes_, queries, keys, math_.block_columns());
          score_gradients(pair, tiles.operands(number, keys), scratch);
          add_key_gradients(pair, scratch, dk.data(), dv.data());
        }
        scale_floats(sizes_.scale, tile_floats, dk.data());
        store(floats_, sizes_, dk.data(), dk_, keys);
        store(floats_, sizes_, dv.data(), dv_, keys);
      }
    });
  }

  /// dq of one query tile. `visit(pair)` is called while the scratch holds the probabilities and
  /// score gradients of that pair of tiles.
  template <typename Visit>
  void query_tile_gradients(int64_t batch, int64_t head, int64_t number, KeyTiles<T, Math>& tiles, Scratch& s,
                            Visit visit) const {
    const Tile queries = query_tile(sizes_, batch, head, number);
    const int64_t columns = padded_columns(queries.count);
    load_queries(queries, s);
    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const TilePair pair(sizes_, queries, key_tile(sizes_, batch, head, other), math_.block_columns());
      const Operands operands = tiles.operands(other, pair.keys);
      score_gradients(pair, operands, s);
      add_to_queries(math_, sizes_, pair, operands.transposed, s.gradients.ds_right, s.dq.data(),
                     other != number);
      visit(pair);
    }
    floats_.transpose(sizes_.head_dim, columns, s.dq.data(), columns, s.rows.data(), sizes_.head_columns);
    scale_floats(sizes_.scale, queries.count * sizes_.head_columns, s.rows.data());
    store(floats_, sizes_, s.rows.data(), dq_, queries);
  }

  /// Queries and output gradients as operands, with lse and D in delta.
  void load_queries(const Tile& queries, Scratch& s) const {
    const int64_t count = queries.count, stride = sizes_.head_columns, columns = padded_columns(count);
    std::fill_n(s.lse.data(), columns, 0.0F);
    std::fill_n(s.delta.data(), columns, 0.0F);
    std::copy_n(lse_(queries.batch, queries.head) + queries.first, count, s.lse.data());
    const auto load_floats = [&](const RowView<const T, 3>& view, float* to) {
      load_tile(floats_, count, sizes_.head_dim, view(queries.batch, queries.first, queries.head),
                view.stride(1), to, stride);
    };
    load_floats(out_, s.rows.data());
    load_floats(dout_, s.dout_rows.data());
    floats_.paired_row_products(count, sizes_.head_dim, s.dout_rows.data(), stride, s.rows.data(), stride,
                                s.delta.data());

    load(math_, sizes_, q_, queries, s.q.data());
    load(math_, sizes_, dout_, queries, s.dout.data());
    s.queries = math_.right_transposed(count, sizes_.head_dim, s.q.data(), stride, s.q_right.data());
    s.douts = math_.right_transposed(count, sizes_.head_dim, s.dout.data(), stride, s.dout_right.data());
    s.queries_depth = math_.right(count, sizes_.head_dim, s.q.data(), stride, s.q_depth.data());
    s.douts_depth = math_.right(count, sizes_.head_dim, s.dout.data(), stride, s.dout_depth.data());
    s.gradients = math_.gradient_tiles(kTile, s.p.data(), s.ds.data(), columns, s.operands.data());
  }

  /// Leaves p and dS in the gradients' operands (keys x queries, visible blocks).
  void score_gradients(const TilePair& pair, const Operands& operands, Scratch& s) const {
    score_product(math_, sizes_, pair, operands.keys, s.queries, s.p.data());
    score_product(math_, sizes_, pair, operands.values, s.douts, s.ds.data());
    const WindowBias bias{sizes_.scale, *slopes_(pair.queries.head), pair.first_distance, sizes_.window};
    for_each_query_block(pair, [&](const ScoreBlock& block) {
      math_.window_score_gradient(block, s.gradients, bias, s.lse.data(), s.delta.data());
    });
  }

  /// dv += p^T dO and dk += dS^T q, of one pair of tiles; the scale of dk comes when it is stored.
  void add_key_gradients(const TilePair& pair, const Scratch& s, float* dk, float* dv) const {
    add_to_keys(math_, sizes_, pair, math_.left(s.gradients.weighted, pair.columns), s.douts_depth, dv);
    add_to_keys(math_, sizes_, pair, math_.left(s.gradients.ds, pair.columns), s.queries_depth, dk);
  }

  const Math& math_;
  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> dout_, q_, k_, v_, out_;
  RowView<const float, 2> lse_;
  RowView<const float, 1> slopes_;
  RowView<T, 3> dq_, dk_, dv_;
};

}  // namespace

WindowForwardResult window_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, slopes.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    Forward<T, Math>(math, with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), slopes.contiguous(),
                     out, lse, window, scale)
        .run();
  });
  return {out, lse};
}

WindowGradients window_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                    const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor dq = at::empty(q.sizes(), q.options());
  const auto gradient_like = [&](const at::Tensor& keys) {
    const bool all_are_seen = k.size(1) - q.size(1) <= window;
    return all_are_seen ? at::empty(keys.sizes(), keys.options()) : at::zeros(keys.sizes(), keys.options());
  };
  at::Tensor dk = gradient_like(k);
  at::Tensor dv = gradient_like(v);
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    Backward<T, Math>(math, with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                      with_dense_rows(out), with_dense_rows(lse), slopes.contiguous(), dq, dk, dv, window,
                      scale)
        .run();
  });
  return {dq, dk, dv};
}

}  // namespace gca::kernels
