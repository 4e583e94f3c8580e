// Sliding-window attention on a CPU.
//
//   s_ij = q_i . k_j * scale - slope_h (i - j)   for 0 <= i - j <= W, else -inf      out_i = softmax_j(s_ij)
//   v_j
//
// The unit of work is a tile of 64 queries against 64 keys of one head. Its two products forward and five
// backward bound the speed: a tile's operands lie in the first- and second-level cache, so the multiply-add
// units are the limit and the exponential costs about a tenth. Key tiles stand at the same 64-position grid
// as query tiles, and a query tile visits those that its window touches, W / 64 + 1 of them for W a multiple
// of 64; the two at the window's ends are half masked. A single query (decoding) is bound by reading W keys
// and values once.
//
//   float32     tiles in float32
//   bfloat16    the same: operands become float on their way into a tile, so probabilities are not rounded
//
// Forward keeps a running maximum and sum a query; the tile of the query's own position comes first, so that
// the maximum is finite from the start. Backward rebuilds p from lse; with D_i = <dO_i, out_i>:
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

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/tile_kernels.h"
#include "kernels/common/tile_operand.h"
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
  int64_t first_key_tile() const { return floor_divide(-past, kTile); }
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
  const int64_t first = std::max<int64_t>(0, sizes.past + number * kTile);
  const int64_t end = std::min(sizes.past + sizes.positions, sizes.past + (number + 1) * kTile);
  return {batch, head, first, end - first};
}

/// Those keys of a tile that any query of `queries` sees; the rest may hold anything.
Tile seen_keys(const Sizes& sizes, const Tile& queries, const Tile& keys) {
  const int64_t first = std::max(keys.first, sizes.past + queries.first - sizes.window);
  return {keys.batch, keys.head, first, keys.first + keys.count - first};
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
  int64_t block;           // queries or keys of a block: the whole tile where every pair is visible
  int64_t window;

  TilePair(const TileKernels& kernels, const Sizes& sizes, const Tile& query_tile, const Tile& key_tile)
      : queries(query_tile),
        keys(seen_keys(sizes, query_tile, key_tile)),
        columns(padded_columns(queries.count)),
        first_distance(sizes.past + queries.first - keys.first),
        window(sizes.window) {
    const bool all_visible = first_distance >= keys.count - 1 && first_distance + queries.count - 1 <= window;
    block = all_visible ? kTile : kernels.product_columns;
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

/// Calls `body(first, count, visible)` for each block of queries of a pair that sees a key; count is padded.
template <typename Body>
void for_each_query_block(const TilePair& pair, Body body) {
  for (int64_t i = 0; i < pair.columns; i += pair.block) {
    const Span visible = pair.keys_of_queries(i);
    if (visible.count() > 0) body(i, std::min(pair.block, pair.columns - i), visible);
  }
}

/// score (keys x queries) = rows (keys x dh) times transposed (dh x queries), visible blocks only.
void score_product(const TileKernels& kernels, const Sizes& sizes, const TilePair& pair, const float* rows,
                   const float* transposed, float* score) {
  for_each_query_block(pair, [&](int64_t i, int64_t count, const Span& visible) {
    kernels.product(visible.count(), count, sizes.head_dim, rows + visible.first * sizes.head_columns,
                    sizes.head_columns, 1, transposed + i, pair.columns,
                    score + visible.first * pair.columns + i, pair.columns, false);
  });
}

/// to (queries x dh) = or += score^T (queries x keys) times rows (keys x dh), visible blocks only.
void add_to_queries(const TileKernels& kernels, const Sizes& sizes, const TilePair& pair, const float* score,
                    const float* rows, float* to, bool add) {
  for_each_query_block(pair, [&](int64_t i, int64_t count, const Span& visible) {
    kernels.product(std::min(count, pair.queries.count - i), sizes.head_columns, visible.count(),
                    score + visible.first * pair.columns + i, 1, pair.columns,
                    rows + visible.first * sizes.head_columns, sizes.head_columns,
                    to + i * sizes.head_columns, sizes.head_columns, add);
  });
}

/// to (keys x dh) += score (keys x queries) times rows (queries x dh), visible blocks only.
void add_to_keys(const TileKernels& kernels, const Sizes& sizes, const TilePair& pair, const float* score,
                 const float* rows, float* to) {
  for (int64_t j = 0; j < pair.keys.count; j += pair.block) {
    const Span visible = pair.queries_of_keys(j);
    if (visible.count() == 0) continue;
    kernels.product(std::min(pair.block, pair.keys.count - j), sizes.head_columns, visible.count(),
                    score + j * pair.columns + visible.first, pair.columns, 1,
                    rows + visible.first * sizes.head_columns, sizes.head_columns,
                    to + j * sizes.head_columns, sizes.head_columns, true);
  }
}

template <typename T>
void load(const TileKernels& kernels, const Sizes& sizes, const RowView<const T, 3>& view, const Tile& tile,
          float* to) {
  load_tile(kernels, tile.count, sizes.head_dim, view(tile.batch, tile.first, tile.head), view.stride(1), to,
            sizes.head_columns);
}

template <typename T>
void store(const TileKernels& kernels, const Sizes& sizes, const float* from, const RowView<T, 3>& view,
           const Tile& tile) {
  store_tile(kernels, tile.count, sizes.head_dim, from, sizes.head_columns,
             view(tile.batch, tile.first, tile.head), view.stride(1));
}

/// Key and value tiles in float, kept from one query tile to the next: neighbours share all of them but one,
/// and a copy lies densely where a head's rows lie a whole position apart.
template <typename T>
class KeyTiles {
 public:
  KeyTiles(const TileKernels& kernels, const Sizes& sizes, const RowView<const T, 3>& k,
           const RowView<const T, 3>& v)
      : kernels_(kernels),
        sizes_(sizes),
        k_(k),
        v_(v),
        places_(std::min(sizes.window / kTile + 2, kMaxPlaces)),
        tile_floats_(kTile * sizes.head_columns),
        held_(static_cast<size_t>(places_)) {}

  /// The rows of keys and values at `tile.first`; key tile `number` holds them. Valid until the next call.
  struct Rows {
    const float* keys;
    const float* values;
  };
  Rows rows(int64_t number, const Tile& tile) {
    if (!keys_.data()) {
      keys_ = TileBuffer(places_ * tile_floats_);
      values_ = TileBuffer(places_ * tile_floats_);
    }
    const int64_t place = (number % places_ + places_) % places_;
    const Tile whole = key_tile(sizes_, tile.batch, tile.head, number);
    Tile& held = held_[static_cast<size_t>(place)];
    if (held.batch != whole.batch || held.head != whole.head || held.first != whole.first ||
        held.count == 0) {
      load(kernels_, sizes_, k_, whole, keys_.data() + place * tile_floats_);
      load(kernels_, sizes_, v_, whole, values_.data() + place * tile_floats_);
      held = whole;
    }
    const int64_t offset = place * tile_floats_ + (tile.first - whole.first) * sizes_.head_columns;
    return {keys_.data() + offset, values_.data() + offset};
  }

 private:
  // A window of 4096 positions; a longer one would not stay in the second-level cache anyway.
  static constexpr int64_t kMaxPlaces = 66;

  const TileKernels& kernels_;
  const Sizes& sizes_;
  const RowView<const T, 3>&k_, &v_;
  int64_t places_, tile_floats_;
  TileBuffer keys_, values_;  // allocated by the first use: single queries need none
  std::vector<Tile> held_;    // by place; no count: nothing yet
};

/// Scores with scale, bias and mask; `largest` of each query is raised to them.
void window_scores(const TileKernels& kernels, const Sizes& sizes, const TilePair& pair, float slope,
                   float* score, float* largest) {
  for_each_query_block(pair, [&](int64_t i, int64_t count, const Span& visible) {
    kernels.window_score(visible.count(), count, score + visible.first * pair.columns + i, pair.columns,
                         sizes.scale, slope, pair.first_distance + i - visible.first, sizes.window,
                         largest + i);
  });
}

/// Scores become exp(score - shift) of their query; `sum` of each query grows by them.
void exponentials(const TileKernels& kernels, const TilePair& pair, float* score, const float* shift,
                  float* sum) {
  for_each_query_block(pair, [&](int64_t i, int64_t count, const Span& visible) {
    kernels.exponential(visible.count(), count, score + visible.first * pair.columns + i, pair.columns, 1.0F,
                        shift + i, sum + i);
  });
}

template <typename T>
class Forward {
 public:
  Forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
          at::Tensor& out, at::Tensor& lse, int64_t window, double scale)
      : sizes_(q, k, window, scale), q_(q), k_(k), v_(v), slopes_(slopes), out_(out), lse_(lse) {}

  void run() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_, std::min(sizes_.positions, kTile));
      KeyTiles<T> tiles(kernels_, sizes_, k_, v_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t number = task % sizes_.tiles;
        const Tile queries = query_tile(sizes_, task / sizes_.tiles / sizes_.heads,
                                        task / sizes_.tiles % sizes_.heads, number);
        if (queries.count <= kFewQueries) {
          for (int64_t i = 0; i < queries.count; ++i) attend_with_one_query(queries, i, scratch);
        } else {
          attend_with_tile(queries, number, tiles, scratch);
        }
      }
    });
  }

 private:
  struct Scratch {
    /// A decoding step takes no more than its few queries need: filling whole tiles would cost as much as it.
    Scratch(const Sizes& sizes, int64_t queries)
        : q(queries * sizes.head_columns),
          q_transposed(queries <= kFewQueries ? 0 : sizes.head_columns * kTile),
          out(queries * sizes.head_columns),
          k(kTile * sizes.head_columns),
          v(kTile * sizes.head_columns),
          score(queries <= kFewQueries ? 0 : kTile * kTile),
          largest(kTile),
          denominator(kTile),
          factor(kTile),
          unused(kTile) {}
    TileBuffer q, q_transposed, out, k, v, score, largest, denominator, factor, unused;
  };

  void attend_with_tile(const Tile& queries, int64_t number, KeyTiles<T>& tiles, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = padded_columns(queries.count);
    load(kernels_, sizes_, q_, queries, s.q.data());
    kernels_.transpose(queries.count, sizes_.head_dim, s.q.data(), head_columns, s.q_transposed.data(),
                       columns);
    std::fill_n(s.largest.data(), columns, -std::numeric_limits<float>::infinity());
    std::fill_n(s.denominator.data(), columns, 0.0F);
    const float slope = *slopes_(queries.head);

    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const TilePair pair(kernels_, sizes_, queries, key_tile(sizes_, queries.batch, queries.head, other));
      const auto rows = tiles.rows(other, pair.keys);
      score_product(kernels_, sizes_, pair, rows.keys, s.q_transposed.data(), s.score.data());

      std::copy_n(s.largest.data(), columns, s.factor.data());
      window_scores(kernels_, sizes_, pair, slope, s.score.data(), s.largest.data());
      if (other != number) {  // what was summed under the old maximum counts less under the new one
        kernels_.exponential(1, columns, s.factor.data(), columns, 1.0F, s.largest.data(), s.unused.data());
        kernels_.scale_columns(1, columns, s.denominator.data(), columns, s.factor.data());
        kernels_.scale_rows(queries.count, head_columns, s.out.data(), head_columns, s.factor.data());
      }
      exponentials(kernels_, pair, s.score.data(), s.largest.data(), s.denominator.data());
      add_to_queries(kernels_, sizes_, pair, s.score.data(), rows.values, s.out.data(), other != number);
    }

    for (int64_t i = 0; i < queries.count; ++i) {
      lse_(queries.batch, queries.head)[queries.first + i] =
          s.largest.data()[i] + std::log(s.denominator.data()[i]);
      s.factor.data()[i] = 1.0F / s.denominator.data()[i];
    }
    kernels_.scale_rows(queries.count, head_columns, s.out.data(), head_columns, s.factor.data());
    store(kernels_, sizes_, s.out.data(), out_, queries);
  }

  void attend_with_one_query(const Tile& queries, int64_t i, Scratch& s) const {
    const int64_t position = queries.first + i;
    const int64_t last = sizes_.past + position;
    const int64_t first = std::max<int64_t>(0, last - sizes_.window);
    const float slope = *slopes_(queries.head);
    const Tile query{queries.batch, queries.head, position, 1};
    load(kernels_, sizes_, q_, query, s.q.data());

    std::vector<float> score(static_cast<size_t>(last + 1 - first));
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t begin = first; begin <= last; begin += kTile) {
      const Tile keys{queries.batch, queries.head, begin, std::min(kTile, last + 1 - begin)};
      const FloatRows rows = rows_of(k_, keys, s.k.data());
      float* of_tile = score.data() + (begin - first);
      kernels_.row_products(keys.count, sizes_.head_dim, rows.data, rows.stride, s.q.data(), 0, of_tile);
      for (int64_t j = 0; j < keys.count; ++j) {
        of_tile[j] = of_tile[j] * sizes_.scale - slope * static_cast<float>(last - begin - j);
        largest = std::max(largest, of_tile[j]);
      }
    }
    float denominator = 0;
    for (float& value : score) denominator += value = std::exp(value - largest);
    for (float& value : score) value /= denominator;
    lse_(queries.batch, queries.head)[position] = largest + std::log(denominator);

    for (int64_t begin = first; begin <= last; begin += kTile) {
      const Tile keys{queries.batch, queries.head, begin, std::min(kTile, last + 1 - begin)};
      const FloatRows rows = rows_of(v_, keys, s.v.data());
      kernels_.product(1, sizes_.head_columns, keys.count, score.data() + (begin - first), 0, 1, rows.data,
                       rows.stride, s.out.data(), sizes_.head_columns, begin != first);
    }
    store(kernels_, sizes_, s.out.data(), out_, query);
  }

  FloatRows rows_of(const RowView<const T, 3>& view, const Tile& tile, float* copy) const {
    return rows_in_place(kernels_, tile.count, sizes_.head_dim, view(tile.batch, tile.first, tile.head),
                         view.stride(1), copy);
  }

  const TileKernels& kernels_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> q_, k_, v_;
  RowView<const float, 1> slopes_;
  RowView<T, 3> out_;
  RowView<float, 2> lse_;
};

template <typename T>
class Backward {
 public:
  Backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const at::Tensor& out, const at::Tensor& lse, const at::Tensor& slopes, at::Tensor& dq,
           at::Tensor& dk, at::Tensor& dv, int64_t window, double scale)
      : sizes_(q, k, window, scale),
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
  using Rows = typename KeyTiles<T>::Rows;

  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(kTile * sizes.head_columns),
          q_transposed(sizes.head_columns * kTile),
          dout(kTile * sizes.head_columns),
          dout_transposed(sizes.head_columns * kTile),
          dq(kTile * sizes.head_columns),
          p(kTile * kTile),
          ds(kTile * kTile),
          lse(kTile),
          delta(kTile),
          unused(kTile),
          one(kTile) {
      std::fill_n(one.data(), kTile, 1.0F);
    }
    TileBuffer q, q_transposed, dout, dout_transposed, dq, p, ds, lse, delta, unused, one;
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      KeyTiles<T> tiles(kernels_, sizes_, k_, v_);
      const int64_t keys = sizes_.past + sizes_.positions;
      const TileBuffer dk(keys * sizes_.head_columns), dv(keys * sizes_.head_columns);
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
        const Tile all{batch, head, 0, keys};
        scale_floats(sizes_.scale, keys * sizes_.head_columns, dk.data());
        store(kernels_, sizes_, dk.data(), dk_, all);
        store(kernels_, sizes_, dv.data(), dv_, all);
      }
    });
  }

  void run_by_query_tile() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      KeyTiles<T> tiles(kernels_, sizes_, k_, v_);
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
      Scratch scratch(sizes_);
      KeyTiles<T> tiles(kernels_, sizes_, k_, v_);
      const int64_t tile_floats = kTile * sizes_.head_columns;
      const TileBuffer dk(tile_floats), dv(tile_floats);
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
          const TilePair pair(kernels_, sizes_, queries, keys);
          const int64_t offset = (pair.keys.first - keys.first) * sizes_.head_columns;
          score_gradients(pair, tiles.rows(number, pair.keys), scratch);
          add_key_gradients(pair, scratch, dk.data() + offset, dv.data() + offset);
        }
        scale_floats(sizes_.scale, tile_floats, dk.data());
        store(kernels_, sizes_, dk.data(), dk_, keys);
        store(kernels_, sizes_, dv.data(), dv_, keys);
      }
    });
  }

  /// dq of one query tile. `visit(pair)` is called while the scratch holds the probabilities and
  /// score gradients of that pair of tiles.
  template <typename Visit>
  void query_tile_gradients(int64_t batch, int64_t head, int64_t number, KeyTiles<T>& tiles, Scratch& s,
                            Visit visit) const {
    const Tile queries = query_tile(sizes_, batch, head, number);
    load_queries(queries, s);
    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const TilePair pair(kernels_, sizes_, queries, key_tile(sizes_, batch, head, other));
      const Rows rows = tiles.rows(other, pair.keys);
      score_gradients(pair, rows, s);
      add_to_queries(kernels_, sizes_, pair, s.ds.data(), rows.keys, s.dq.data(), other != number);
      visit(pair);
    }
    scale_floats(sizes_.scale, queries.count * sizes_.head_columns, s.dq.data());
    store(kernels_, sizes_, s.dq.data(), dq_, queries);
  }

  /// Queries and output gradients, as they are and transposed, with lse and D in delta.
  void load_queries(const Tile& queries, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = padded_columns(queries.count);
    load(kernels_, sizes_, out_, queries, s.q.data());  // out stands in q's place until D is known
    load(kernels_, sizes_, dout_, queries, s.dout.data());
    kernels_.row_products(queries.count, sizes_.head_dim, s.dout.data(), head_columns, s.q.data(),
                          head_columns, s.delta.data());
    load(kernels_, sizes_, q_, queries, s.q.data());
    kernels_.transpose(queries.count, sizes_.head_dim, s.q.data(), head_columns, s.q_transposed.data(),
                       columns);
    kernels_.transpose(queries.count, sizes_.head_dim, s.dout.data(), head_columns, s.dout_transposed.data(),
                       columns);
    std::copy_n(lse_(queries.batch, queries.head) + queries.first, queries.count, s.lse.data());
  }

  /// Leaves p in p and dS in ds (both keys x queries, visible blocks).
  void score_gradients(const TilePair& pair, const Rows& rows, Scratch& s) const {
    score_product(kernels_, sizes_, pair, rows.keys, s.q_transposed.data(), s.p.data());
    window_scores(kernels_, sizes_, pair, *slopes_(pair.queries.head), s.p.data(), s.unused.data());
    exponentials(kernels_, pair, s.p.data(), s.lse.data(), s.unused.data());
    score_product(kernels_, sizes_, pair, rows.values, s.dout_transposed.data(), s.ds.data());
    for_each_query_block(pair, [&](int64_t i, int64_t count, const Span& visible) {
      const int64_t offset = visible.first * pair.columns + i;
      kernels_.score_gradient(visible.count(), count, s.p.data() + offset, s.ds.data() + offset, pair.columns,
                              s.delta.data() + i, s.one.data() + i);
    });
  }

  /// dv += p^T dO and dk += dS^T q, of one pair of tiles; the scale of dk comes when it is stored.
  void add_key_gradients(const TilePair& pair, const Scratch& s, float* dk, float* dv) const {
    add_to_keys(kernels_, sizes_, pair, s.p.data(), s.dout.data(), dv);
    add_to_keys(kernels_, sizes_, pair, s.ds.data(), s.q.data(), dk);
  }

  const TileKernels& kernels_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> dout_, q_, k_, v_, out_;
  RowView<const float, 2> lse_;
  RowView<const float, 1> slopes_;
  RowView<T, 3> dq_, dk_, dv_;
};

/// Calls `body` with a value of the element type of `tensor`, one of the two of this version.
template <typename Body>
void with_element_type(const at::Tensor& tensor, Body body) {
  if (tensor.scalar_type() == at::kBFloat16) {
    body(at::BFloat16{});
  } else {
    body(float{});
  }
}

}  // namespace

WindowForwardResult window_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, slopes.options());
  with_element_type(q, [&]<typename T>(T) {
    Forward<T>(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), slopes.contiguous(), out, lse,
               window, scale)
        .run();
  });
  return {out, lse};
}

WindowGradients window_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                    const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor dq = at::empty(q.sizes(), q.options());
  at::Tensor dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options());
  with_element_type(q, [&]<typename T>(T) {
    Backward<T>(with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                with_dense_rows(out), with_dense_rows(lse), slopes.contiguous(), dq, dk, dv, window, scale)
        .run();
  });
  return {dq, dk, dv};
}

}  // namespace gca::kernels
