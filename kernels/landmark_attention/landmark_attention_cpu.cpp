// Landmark attention on a CPU. A tile: up to 64 queries of one block and one head against a block of keys, in
// float32; bf16 is widened when a tile is loaded. Scores are keys x queries (tile_kernels.h), so the softmax
// over a block and the common one are running vectors.
//
// Forward: the common softmax first, over the own keys and all earlier landmarks: it needs no more than one
// row of each block. Then block by block what its landmark's weight is handed on to.
//
// Backward: a thread owns a (batch, head) and walks its query tiles, so that dk and dv are summed in one
// order. Weights are rebuilt from lse; the gradient of a landmark's score takes the landmark's row in the
// tile of its block.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/common/flush_subnormals.h"
#include "kernels/common/tile_operand.h"
#include "kernels/landmark_attention/landmark_attention_versions.h"

namespace gca::kernels {
namespace landmark {
namespace {

constexpr int64_t kMostQueries = 64;
constexpr float kNoScore = -std::numeric_limits<float>::infinity();

/// Queries first .. first + count of the new positions, all of one block.
struct QueryTile {
  int64_t first, count;
  int64_t block;
};

struct Sizes {
  int64_t batch, positions, keys, heads, head_dim;
  int64_t past;          // P
  int64_t block_size;    // S
  int64_t head_columns;  // head_dim, padded
  float scale;

  Sizes(const at::Tensor& q, const at::Tensor& k, int64_t size_of_block, double score_scale)
      : batch(q.size(0)),
        positions(q.size(1)),
        keys(k.size(1)),
        heads(q.size(2)),
        head_dim(q.size(3)),
        past(keys - positions),
        block_size(size_of_block),
        head_columns(padded_columns(head_dim)),
        scale(static_cast<float>(score_scale)) {}

  std::vector<QueryTile> query_tiles() const {
    std::vector<QueryTile> tiles;
    for (int64_t position = past; position < keys;) {
      const int64_t block = position / block_size;
      const int64_t end = std::min({keys, (block + 1) * block_size, position + kMostQueries});
      tiles.push_back({position - past, end - position, block});
      position = end;
    }
    return tiles;
  }
  /// Keys of the own block that a tile's last query sees.
  int64_t own_keys(const QueryTile& tile) const {
    return std::min(past + tile.first + tile.count - tile.block * block_size, block_size - 1);
  }
  /// How far behind the first key of its block a tile begins.
  int64_t first_distance(const QueryTile& tile) const { return past + tile.first - tile.block * block_size; }
};

template <typename T>
class Forward {
 public:
  Forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, at::Tensor& out, at::Tensor& lse,
          int64_t block_size, double scale)
      : sizes_(q, k, block_size, scale), q_(q), k_(k), v_(v), out_(out), lse_(lse) {}

  void run() const {
    const std::vector<QueryTile> tiles = sizes_.query_tiles();
    const auto count = static_cast<int64_t>(tiles.size());
    at::parallel_for(0, sizes_.batch * sizes_.heads * count, 1, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] const FlushSubnormals flush;
      const Scratch scratch(sizes_, tiles.empty() ? 0 : tiles.back().block);
      for (int64_t task = begin; task < end; ++task)
        attend(task / count / sizes_.heads, task / count % sizes_.heads,
               tiles[static_cast<size_t>(task % count)], scratch);
    });
  }

 private:
  struct Scratch {
    Scratch(const Sizes& sizes, int64_t blocks)
        : rows(std::max(kMostQueries, sizes.block_size) * sizes.head_columns),
          queries(sizes.head_columns * kMostQueries),
          landmarks(blocks * sizes.head_columns),
          own(sizes.block_size * kMostQueries),
          shares(blocks * kMostQueries),
          inside(sizes.block_size * kMostQueries),
          sum(sizes.head_columns * kMostQueries),
          largest(kMostQueries),
          denominator(kMostQueries),
          block_largest(kMostQueries),
          factor(kMostQueries) {}
    TileBuffer<float> rows, queries, landmarks, own, shares, inside, sum, largest, denominator, block_largest,
        factor;
  };

  void load(const RowView<const T, 3>& view, int64_t batch, int64_t first, int64_t head, int64_t count,
            float* to) const {
    load_tile(floats_, count, sizes_.head_dim, view(batch, first, head), view.stride(1), to,
              sizes_.head_columns);
  }

  /// scores (count x queries) = rows (count x dh) queries (dh x queries).
  void score(int64_t count, int64_t columns, const float* rows, const Scratch& s, float* to) const {
    floats_.product(count, columns, sizes_.head_dim, rows, sizes_.head_columns, 1, s.queries.data(), columns,
                    to, columns, false, nullptr);
  }

  /// sum (dh x queries) = or += values^T weights, the values of `count` positions from `first` on.
  void add_values(int64_t batch, int64_t head, int64_t first, int64_t count, int64_t columns,
                  const float* weights, const Scratch& s, bool add) const {
    load(v_, batch, first, head, count, s.rows.data());
    floats_.product(sizes_.head_dim, columns, count, s.rows.data(), 1, sizes_.head_columns, weights, columns,
                    s.sum.data(), columns, add, nullptr);
  }

  void attend(int64_t batch, int64_t head, const QueryTile& tile, const Scratch& s) const {
    const int64_t S = sizes_.block_size;
    const int64_t columns = padded_columns(tile.count);
    load(q_, batch, tile.first, head, tile.count, s.rows.data());
    floats_.transpose(tile.count, sizes_.head_dim, s.rows.data(), sizes_.head_columns, s.queries.data(),
                      columns);
    std::fill_n(s.largest.data(), columns, kNoScore);
    std::fill_n(s.denominator.data(), columns, 0.0F);

    // The common softmax, not yet divided by its denominator.
    const int64_t own = sizes_.own_keys(tile);
    load(k_, batch, tile.block * S, head, own, s.rows.data());
    score(own, columns, s.rows.data(), s, s.own.data());
    floats_.window_score(own, columns, s.own.data(), columns, sizes_.scale, 0.0F, sizes_.first_distance(tile),
                         S, s.largest.data());
    load_tile(floats_, tile.block, sizes_.head_dim, k_(batch, S - 1, head), S * k_.stride(1),
              s.landmarks.data(), sizes_.head_columns);
    score(tile.block, columns, s.landmarks.data(), s, s.shares.data());
    floats_.largest_score(tile.block, columns, s.shares.data(), columns, sizes_.scale, s.largest.data());
    floats_.exponential(own, columns, s.own.data(), columns, 1.0F, s.largest.data(), s.denominator.data());
    floats_.exponential(tile.block, columns, s.shares.data(), columns, sizes_.scale, s.largest.data(),
                        s.denominator.data());
    add_values(batch, head, tile.block * S, own, columns, s.own.data(), s, /*add=*/false);

    for (int64_t block = 0; block < tile.block; ++block) {
      load(k_, batch, block * S, head, S - 1, s.rows.data());
      score(S - 1, columns, s.rows.data(), s, s.inside.data());
      std::fill_n(s.block_largest.data(), columns, kNoScore);
      std::fill_n(s.factor.data(), columns, 0.0F);
      floats_.largest_score(S - 1, columns, s.inside.data(), columns, sizes_.scale, s.block_largest.data());
      floats_.exponential(S - 1, columns, s.inside.data(), columns, sizes_.scale, s.block_largest.data(),
                          s.factor.data());
      const float* share = s.shares.data() + block * columns;
      for (int64_t i = 0; i < columns; ++i) s.factor.data()[i] = share[i] / s.factor.data()[i];
      floats_.scale_columns(S - 1, columns, s.inside.data(), columns, s.factor.data());
      add_values(batch, head, block * S, S - 1, columns, s.inside.data(), s, /*add=*/true);
    }

    floats_.transpose(sizes_.head_dim, columns, s.sum.data(), columns, s.rows.data(), sizes_.head_columns);
    for (int64_t i = 0; i < tile.count; ++i) s.factor.data()[i] = 1.0F / s.denominator.data()[i];
    floats_.scale_rows(tile.count, sizes_.head_columns, s.rows.data(), sizes_.head_columns, s.factor.data());
    store_tile(floats_, tile.count, sizes_.head_dim, s.rows.data(), sizes_.head_columns,
               out_(batch, tile.first, head), out_.stride(1));
    floats_.logarithm(columns, s.denominator.data());
    float* lse = lse_(batch, head) + tile.first;
    for (int64_t i = 0; i < tile.count; ++i) lse[i] = s.largest.data()[i] + s.denominator.data()[i];
  }

  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> q_, k_, v_;
  RowView<T, 3> out_;
  RowView<float, 2> lse_;
};

template <typename T>
class Backward {
 public:
  Backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const at::Tensor& out, const at::Tensor& lse, at::Tensor& dq, at::Tensor& dk, at::Tensor& dv,
           int64_t block_size, double scale)
      : sizes_(q, k, block_size, scale),
        dout_(dout),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        lse_(lse),
        dq_(dq),
        dk_(dk),
        dv_(dv) {}

  void run() const {
    const std::vector<QueryTile> tiles = sizes_.query_tiles();
    at::parallel_for(0, sizes_.batch * sizes_.heads, 1, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] const FlushSubnormals flush;
      const Scratch scratch(sizes_);
      for (int64_t task = begin; task < end; ++task)
        head_gradients(task / sizes_.heads, task % sizes_.heads, tiles, scratch);
    });
  }

 private:
  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : keys(sizes.keys * sizes.head_columns),
          values(sizes.keys * sizes.head_columns),
          dk(sizes.keys * sizes.head_columns),
          dv(sizes.keys * sizes.head_columns),
          q(kMostQueries * sizes.head_columns),
          dout(kMostQueries * sizes.head_columns),
          rows(kMostQueries * sizes.head_columns),
          queries(sizes.head_columns * kMostQueries),
          douts(sizes.head_columns * kMostQueries),
          dq(sizes.head_columns * kMostQueries),
          p(sizes.block_size * kMostQueries),
          ds(sizes.block_size * kMostQueries),
          lse(kMostQueries),
          delta(kMostQueries),
          ones(kMostQueries),
          largest(kMostQueries),
          sum(kMostQueries),
          block_delta(kMostQueries),
          weight(kMostQueries),
          unused(kMostQueries) {
      std::fill_n(ones.data(), kMostQueries, 1.0F);
    }
    TileBuffer<float> keys, values, dk, dv;  // of a head
    TileBuffer<float> q, dout, rows;         // queries x dh
    TileBuffer<float> queries, douts, dq;    // dh x queries
    TileBuffer<float> p, ds;                 // keys x queries
    TileBuffer<float> lse, delta, ones, largest, sum, block_delta, weight, unused;
  };

  void load(const RowView<const T, 3>& view, int64_t batch, int64_t first, int64_t head, int64_t count,
            float* to) const {
    load_tile(floats_, count, sizes_.head_dim, view(batch, first, head), view.stride(1), to,
              sizes_.head_columns);
  }

  void store(const RowView<T, 3>& view, int64_t batch, int64_t first, int64_t head, int64_t count,
             const float* from) const {
    store_tile(floats_, count, sizes_.head_dim, from, sizes_.head_columns, view(batch, first, head),
               view.stride(1));
  }

  void head_gradients(int64_t batch, int64_t head, const std::vector<QueryTile>& tiles,
                      const Scratch& s) const {
    const int64_t size = sizes_.keys * sizes_.head_columns;
    load(k_, batch, 0, head, sizes_.keys, s.keys.data());
    load(v_, batch, 0, head, sizes_.keys, s.values.data());
    std::fill_n(s.dk.data(), size, 0.0F);
    std::fill_n(s.dv.data(), size, 0.0F);
    for (const QueryTile& tile : tiles) tile_gradients(batch, head, tile, s);
    scale_floats(sizes_.scale, size, s.dk.data());
    store(dk_, batch, 0, head, sizes_.keys, s.dk.data());
    store(dv_, batch, 0, head, sizes_.keys, s.dv.data());
  }

  void tile_gradients(int64_t batch, int64_t head, const QueryTile& tile, const Scratch& s) const {
    const int64_t columns = padded_columns(tile.count);
    load(q_, batch, tile.first, head, tile.count, s.q.data());
    load(dout_, batch, tile.first, head, tile.count, s.dout.data());
    load(out_, batch, tile.first, head, tile.count, s.rows.data());
    floats_.transpose(tile.count, sizes_.head_dim, s.q.data(), sizes_.head_columns, s.queries.data(),
                      columns);
    floats_.transpose(tile.count, sizes_.head_dim, s.dout.data(), sizes_.head_columns, s.douts.data(),
                      columns);
    std::fill_n(s.lse.data(), columns, 0.0F);
    std::fill_n(s.delta.data(), columns, 0.0F);
    std::copy_n(lse_(batch, head) + tile.first, tile.count, s.lse.data());
    floats_.paired_row_products(tile.count, sizes_.head_dim, s.dout.data(), sizes_.head_columns,
                                s.rows.data(), sizes_.head_columns, s.delta.data());

    own_gradients(tile, columns, s);
    for (int64_t block = 0; block < tile.block; ++block) block_gradients(tile, block, columns, s);

    floats_.transpose(sizes_.head_dim, columns, s.dq.data(), columns, s.rows.data(), sizes_.head_columns);
    scale_floats(sizes_.scale, tile.count * sizes_.head_columns, s.rows.data());
    store(dq_, batch, tile.first, head, tile.count, s.rows.data());
  }

  /// p = scores and ds = <dO, v> of `count` keys from `first` on; those of `values` fewer or as many.
  void products(int64_t first, int64_t count, int64_t values, int64_t columns, const Scratch& s) const {
    const int64_t offset = first * sizes_.head_columns;
    floats_.product(count, columns, sizes_.head_dim, s.keys.data() + offset, sizes_.head_columns, 1,
                    s.queries.data(), columns, s.p.data(), columns, false, nullptr);
    floats_.product(values, columns, sizes_.head_dim, s.values.data() + offset, sizes_.head_columns, 1,
                    s.douts.data(), columns, s.ds.data(), columns, false, nullptr);
  }

  /// dq += K^T dS, dk += dS q and dv += p dO, of the same keys.
  void add_gradients(const QueryTile& tile, int64_t first, int64_t count, int64_t values, int64_t columns,
                     const Scratch& s, bool add) const {
    const int64_t offset = first * sizes_.head_columns;
    floats_.product(sizes_.head_dim, columns, count, s.keys.data() + offset, 1, sizes_.head_columns,
                    s.ds.data(), columns, s.dq.data(), columns, add, nullptr);
    floats_.product(count, sizes_.head_columns, tile.count, s.ds.data(), columns, 1, s.q.data(),
                    sizes_.head_columns, s.dk.data() + offset, sizes_.head_columns, true, nullptr);
    floats_.product(values, sizes_.head_columns, tile.count, s.p.data(), columns, 1, s.dout.data(),
                    sizes_.head_columns, s.dv.data() + offset, sizes_.head_columns, true, nullptr);
  }

  void own_gradients(const QueryTile& tile, int64_t columns, const Scratch& s) const {
    const int64_t first = tile.block * sizes_.block_size;
    const int64_t own = sizes_.own_keys(tile);
    products(first, own, own, columns, s);
    floats_.window_score(own, columns, s.p.data(), columns, sizes_.scale, 0.0F, sizes_.first_distance(tile),
                         sizes_.block_size, s.unused.data());
    floats_.exponential(own, columns, s.p.data(), columns, 1.0F, s.lse.data(), s.unused.data());
    floats_.score_gradient(own, columns, s.p.data(), s.ds.data(), columns, s.delta.data(), s.ones.data());
    add_gradients(tile, first, own, own, columns, s, /*add=*/false);
  }

  void block_gradients(const QueryTile& tile, int64_t block, int64_t columns, const Scratch& s) const {
    const int64_t S = sizes_.block_size;
    const int64_t first = block * S;
    products(first, S, S - 1, columns, s);
    float* landmark_share = s.p.data() + (S - 1) * columns;
    floats_.exponential(1, columns, landmark_share, columns, sizes_.scale, s.lse.data(), s.unused.data());
    std::fill_n(s.largest.data(), columns, kNoScore);
    std::fill_n(s.sum.data(), columns, 0.0F);
    std::fill_n(s.block_delta.data(), columns, 0.0F);
    floats_.largest_score(S - 1, columns, s.p.data(), columns, sizes_.scale, s.largest.data());
    floats_.exponential(S - 1, columns, s.p.data(), columns, sizes_.scale, s.largest.data(), s.sum.data());
    floats_.column_products(S - 1, columns, s.p.data(), s.ds.data(), columns, s.block_delta.data());
    float* landmark_ds = s.ds.data() + (S - 1) * columns;
    for (int64_t i = 0; i < columns; ++i) {
      s.block_delta.data()[i] /= s.sum.data()[i];
      s.weight.data()[i] = landmark_share[i] / s.sum.data()[i];
      landmark_ds[i] = landmark_share[i] * (s.block_delta.data()[i] - s.delta.data()[i]);
    }
    floats_.score_gradient(S - 1, columns, s.p.data(), s.ds.data(), columns, s.block_delta.data(),
                           s.weight.data());
    add_gradients(tile, first, S, S - 1, columns, s, /*add=*/true);
  }

  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> dout_, q_, k_, v_, out_;
  RowView<const float, 2> lse_;
  RowView<T, 3> dq_, dk_, dv_;
};

/// Calls `body` with a value of the element type of `tensor`.
template <typename Body>
void with_element_type(const at::Tensor& tensor, Body body) {
  if (tensor.scalar_type() == at::kBFloat16)
    body(at::BFloat16{});
  else
    body(float{});
}

}  // namespace
}  // namespace landmark

LandmarkForwardResult landmark_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           int64_t block_size, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
  landmark::with_element_type(q, [&](auto element) {
    landmark::Forward<decltype(element)>(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), out, lse,
                                         block_size, scale)
        .run();
  });
  return {out, lse};
}

LandmarkGradients landmark_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                        int64_t block_size, double scale) {
  at::Tensor dq = at::empty(q.sizes(), q.options());
  at::Tensor dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options());
  landmark::with_element_type(q, [&](auto element) {
    landmark::Backward<decltype(element)>(with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k),
                                          with_dense_rows(v), with_dense_rows(out), lse.contiguous(), dq, dk,
                                          dv, block_size, scale)
        .run();
  });
  return {dq, dk, dv};
}

}  // namespace gca::kernels
