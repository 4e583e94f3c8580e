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
  int64_t batch, head;
  int64_t first, count;
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

/// The position of a query tile's first query less that of a key tile's first key.
int64_t first_distance(const Sizes& sizes, const Tile& queries, const Tile& keys) {
  return sizes.past + queries.first - keys.first;
}

template <typename T>
void load(const TileKernels& kernels, const Sizes& sizes, const RowView<const T, 3>& view, const Tile& tile,
          float* to) {
  load_tile(
      kernels, tile.count, sizes.head_dim,
      [&](int64_t i) { return view(tile.batch, tile.first + i, tile.head); }, to, sizes.head_columns);
}

template <typename T>
void store(const TileKernels& kernels, const Sizes& sizes, float scale, float* from,
           const RowView<T, 3>& view, const Tile& tile) {
  store_tile(kernels, tile.count, sizes.head_dim, scale, from, sizes.head_columns,
             [&](int64_t i) { return view(tile.batch, tile.first + i, tile.head); });
}

template <typename T>
class Forward {
 public:
  Forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
          at::Tensor& out, at::Tensor& lse, int64_t window, double scale)
      : sizes_(q, k, window, scale), q_(q), k_(k), v_(v), slopes_(slopes), out_(out), lse_(lse) {}

  void run() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t number = task % sizes_.tiles;
        const Tile queries = query_tile(sizes_, task / sizes_.tiles / sizes_.heads,
                                        task / sizes_.tiles % sizes_.heads, number);
        if (queries.count <= kFewQueries) {
          for (int64_t i = 0; i < queries.count; ++i) attend_with_one_query(queries, i, scratch);
        } else {
          attend_with_tile(queries, number, scratch);
        }
      }
    });
  }

 private:
  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(kTile * sizes.head_columns),
          q_transposed(sizes.head_columns * kTile),
          out(kTile * sizes.head_columns),
          k(kTile * sizes.head_columns),
          v(kTile * sizes.head_columns),
          score(kTile * kTile),
          largest(kTile),
          denominator(kTile),
          factor(kTile),
          unused(kTile) {}
    TileBuffer q, q_transposed, out, k, v, score, largest, denominator, factor, unused;
  };

  void attend_with_tile(const Tile& queries, int64_t number, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = padded_columns(queries.count);
    load(kernels_, sizes_, q_, queries, s.q.data());
    kernels_.transpose(queries.count, sizes_.head_dim, s.q.data(), head_columns, s.q_transposed.data(),
                       columns);
    std::fill_n(s.largest.data(), columns, -std::numeric_limits<float>::infinity());
    std::fill_n(s.denominator.data(), columns, 0.0F);
    const float slope = *slopes_(queries.head);

    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const Tile keys = seen_keys(sizes_, queries, key_tile(sizes_, queries.batch, queries.head, other));
      load(kernels_, sizes_, k_, keys, s.k.data());
      load(kernels_, sizes_, v_, keys, s.v.data());
      kernels_.product(keys.count, columns, sizes_.head_dim, s.k.data(), head_columns, 1,
                       s.q_transposed.data(), columns, s.score.data(), columns, false);

      std::copy_n(s.largest.data(), columns, s.factor.data());
      kernels_.window_score(keys.count, columns, s.score.data(), columns, sizes_.scale, slope,
                            first_distance(sizes_, queries, keys), sizes_.window, s.largest.data());
      if (other != number) {  // what was summed under the old maximum counts less under the new one
        kernels_.exponential(1, columns, s.factor.data(), columns, 1.0F, s.largest.data(), s.unused.data());
        kernels_.scale_columns(1, columns, s.denominator.data(), columns, s.factor.data());
        kernels_.scale_rows(queries.count, head_columns, s.out.data(), head_columns, s.factor.data());
      }
      kernels_.exponential(keys.count, columns, s.score.data(), columns, 1.0F, s.largest.data(),
                           s.denominator.data());
      kernels_.product(queries.count, head_columns, keys.count, s.score.data(), 1, columns, s.v.data(),
                       head_columns, s.out.data(), head_columns, other != number);
    }

    for (int64_t i = 0; i < queries.count; ++i) {
      lse_(queries.batch, queries.head)[queries.first + i] =
          s.largest.data()[i] + std::log(s.denominator.data()[i]);
      s.factor.data()[i] = 1.0F / s.denominator.data()[i];
    }
    kernels_.scale_rows(queries.count, head_columns, s.out.data(), head_columns, s.factor.data());
    store(kernels_, sizes_, 1.0F, s.out.data(), out_, queries);
  }

  void attend_with_one_query(const Tile& queries, int64_t i, Scratch& s) const {
    const int64_t position = queries.first + i;
    const int64_t last = sizes_.past + position;
    const int64_t first = std::max<int64_t>(0, last - sizes_.window);
    const float slope = *slopes_(queries.head);
    widen(kernels_, sizes_.head_dim, q_(queries.batch, position, queries.head), s.q.data());

    std::vector<float> score(static_cast<size_t>(last + 1 - first));
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t begin = first; begin <= last; begin += kTile) {
      const Tile keys{queries.batch, queries.head, begin, std::min(kTile, last + 1 - begin)};
      load(kernels_, sizes_, k_, keys, s.k.data());
      float* of_tile = score.data() + (begin - first);
      kernels_.row_products(keys.count, sizes_.head_dim, s.k.data(), sizes_.head_columns, s.q.data(), 0,
                            of_tile);
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
      load(kernels_, sizes_, v_, keys, s.v.data());
      kernels_.product(1, sizes_.head_columns, keys.count, score.data() + (begin - first), 0, 1, s.v.data(),
                       sizes_.head_columns, s.out.data(), sizes_.head_columns, begin != first);
    }
    narrow(kernels_, sizes_.head_dim, s.out.data(), out_(queries.batch, position, queries.head));
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
  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(kTile * sizes.head_columns),
          q_transposed(sizes.head_columns * kTile),
          dout(kTile * sizes.head_columns),
          dout_transposed(sizes.head_columns * kTile),
          dq(kTile * sizes.head_columns),
          k(kTile * sizes.head_columns),
          v(kTile * sizes.head_columns),
          p(kTile * kTile),
          ds(kTile * kTile),
          lse(kTile),
          delta(kTile),
          unused(kTile) {}
    TileBuffer q, q_transposed, dout, dout_transposed, dq, k, v, p, ds, lse, delta, unused;
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / sizes_.heads, head = task % sizes_.heads;
        const int64_t keys = sizes_.past + sizes_.positions;
        const TileBuffer dk(keys * sizes_.head_columns), dv(keys * sizes_.head_columns);
        for (int64_t number = 0; number < sizes_.tiles; ++number) {
          query_tile_gradients(batch, head, number, scratch, [&](const Tile& queries, const Tile& key) {
            add_key_gradients(queries, key, scratch, dk.data() + key.first * sizes_.head_columns,
                              dv.data() + key.first * sizes_.head_columns);
          });
        }
        const Tile all{batch, head, 0, keys};
        store(kernels_, sizes_, sizes_.scale, dk.data(), dk_, all);
        store(kernels_, sizes_, 1.0F, dv.data(), dv_, all);
      }
    });
  }

  void run_by_query_tile() const {
    at::parallel_for(0, sizes_.batch * sizes_.heads * sizes_.tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      for (int64_t task = begin; task < end; ++task) {
        query_tile_gradients(task / sizes_.tiles / sizes_.heads, task / sizes_.tiles % sizes_.heads,
                             task % sizes_.tiles, scratch, [](const Tile&, const Tile&) {});
      }
    });
  }

  void run_by_key_tile() const {
    const int64_t first_key_tile = sizes_.first_key_tile();
    const int64_t key_tiles = sizes_.tiles - first_key_tile;
    at::parallel_for(0, sizes_.batch * sizes_.heads * key_tiles, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
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
          const Tile seen = seen_keys(sizes_, queries, keys);
          const int64_t offset = (seen.first - keys.first) * sizes_.head_columns;
          score_gradients(queries, seen, scratch);
          add_key_gradients(queries, seen, scratch, dk.data() + offset, dv.data() + offset);
        }
        store(kernels_, sizes_, sizes_.scale, dk.data(), dk_, keys);
        store(kernels_, sizes_, 1.0F, dv.data(), dv_, keys);
      }
    });
  }

  /// dq of one query tile. `visit(queries, keys)` is called while the scratch holds the probabilities and
  /// score gradients of that pair of tiles.
  template <typename Visit>
  void query_tile_gradients(int64_t batch, int64_t head, int64_t number, Scratch& s, Visit visit) const {
    const Tile queries = query_tile(sizes_, batch, head, number);
    const int64_t columns = padded_columns(queries.count);
    load_queries(queries, s);
    for (int64_t other = number; other >= sizes_.first_key_tile_of_query_tile(number); --other) {
      const Tile keys = seen_keys(sizes_, queries, key_tile(sizes_, batch, head, other));
      score_gradients(queries, keys, s);
      kernels_.product(queries.count, sizes_.head_columns, keys.count, s.ds.data(), 1, columns, s.k.data(),
                       sizes_.head_columns, s.dq.data(), sizes_.head_columns, other != number);
      visit(queries, keys);
    }
    store(kernels_, sizes_, sizes_.scale, s.dq.data(), dq_, queries);
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

  /// Leaves K in k, p in p and dS in ds (both keys x queries).
  void score_gradients(const Tile& queries, const Tile& keys, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = padded_columns(queries.count);
    load(kernels_, sizes_, k_, keys, s.k.data());
    load(kernels_, sizes_, v_, keys, s.v.data());
    kernels_.product(keys.count, columns, sizes_.head_dim, s.k.data(), head_columns, 1, s.q_transposed.data(),
                     columns, s.p.data(), columns, false);
    kernels_.window_score(keys.count, columns, s.p.data(), columns, sizes_.scale, *slopes_(queries.head),
                          first_distance(sizes_, queries, keys), sizes_.window, s.unused.data());
    kernels_.exponential(keys.count, columns, s.p.data(), columns, 1.0F, s.lse.data(), s.unused.data());
    kernels_.product(keys.count, columns, sizes_.head_dim, s.v.data(), head_columns, 1,
                     s.dout_transposed.data(), columns, s.ds.data(), columns, false);
    kernels_.score_gradient(keys.count, columns, s.p.data(), s.ds.data(), columns, s.delta.data(), 1.0F);
  }

  /// dv += p^T dO and dk += dS^T q, of one pair of tiles; the scale of dk comes when it is stored.
  void add_key_gradients(const Tile& queries, const Tile& keys, const Scratch& s, float* dk,
                         float* dv) const {
    const int64_t columns = padded_columns(queries.count);
    kernels_.product(keys.count, sizes_.head_columns, queries.count, s.p.data(), columns, 1, s.dout.data(),
                     sizes_.head_columns, dv, sizes_.head_columns, true);
    kernels_.product(keys.count, sizes_.head_columns, queries.count, s.ds.data(), columns, 1, s.q.data(),
                     sizes_.head_columns, dk, sizes_.head_columns, true);
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
