// Sliding-window attention on a CPU, backward. A tile (sliding_window_tiles.h) takes five products, which
// bound the speed as in forward. p is rebuilt from lse; with D_i = <dO_i, out_i>:
//
//   dV_j += p_ij dO_i   dS_ij = p_ij (<dO_i, v_j> - D_i)   dq_i += dS_ij k_j scale   dk_j += dS_ij q_i scale
//
// In bf16 tiles p and dS are rounded on their way into a product. Two orders of work give the same bits,
// because dk and dv are summed over query tiles from first to last in both:
//
//   by head      a thread owns a (batch, head) and walks its query tiles once: 5 products a tile
//   by query tile and by key tile   7 products, but any number of threads has work
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kernels/sliding_window_attention/sliding_window_tiles.h"

namespace gca::kernels {
namespace window {
namespace {

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
      [[maybe_unused]] const auto products = math_.products();
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
      [[maybe_unused]] const auto products = math_.products();
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
      [[maybe_unused]] const auto products = math_.products();
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
}  // namespace window

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
    window::Backward<T, Math>(math, with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k),
                              with_dense_rows(v), with_dense_rows(out), with_dense_rows(lse),
                              slopes.contiguous(), dq, dk, dv, window, scale)
        .run();
  });
  return {dq, dk, dv};
}

}  // namespace gca::kernels
