// Grouped cross-attention on a CPU, backward (formulas in grouped_cross_attention.h).
//
// A tile (grouped_cross_attention_tiles.h) takes five products, which bound the speed as in forward; p is
// rebuilt from lse. In bf16 tiles w p and dS are rounded on their way into a product. Two orders of work give
// the same bits, because each chunk's dK and dV are summed over its readers by rising (row, tile, slot) in both:
//
//   by head      a thread owns a (batch, key/value head) and walks its rows once: 5 products a tile
//   by row and by chunk   rows for dq and dw, then chunks for dK and dV through an inverse index: 7 products,
//                but any number of threads has work
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_cross_attention/packed_chunks.h"

namespace gca::kernels {
namespace grouped {
namespace {

/// A tile that reads a chunk, in the order in which its part of dK and dV is added.
struct Reader {
  int64_t row, tile, slot;
};

/// For each chunk of one batch entry, its readers by rising (row, tile, slot).
std::vector<std::vector<Reader>> readers_of_chunks(const Sizes& sizes, const RowView<const int32_t, 2>& idx,
                                                   int64_t batch) {
  std::vector<std::vector<Reader>> readers(static_cast<size_t>(sizes.chunks));
  for (int64_t row = 0; row < sizes.rows; ++row) {
    for (int64_t tile = 0; tile < sizes.tiles_per_row; ++tile) {
      for (int64_t slot = 0; slot < sizes.slots; ++slot) {
        const int32_t chunk = idx(batch, row)[slot];
        if (chunk >= 0) readers[static_cast<size_t>(chunk)].push_back({row, tile, slot});
      }
    }
  }
  return readers;
}

template <typename T, typename Math>
class Backward {
 public:
  Backward(const Math& math, const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
           const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w, const at::Tensor& lse,
           at::Tensor& dq, at::Tensor& dk, at::Tensor& dv, at::Tensor& dw_of_heads, const GcaOptions& options)
      : math_(math),
        sizes_(q, k, idx, options),
        dout_(dout),
        q_(q),
        k_(k),
        v_(v),
        idx_(idx),
        w_(w),
        lse_(lse),
        dq_(dq),
        dk_(dk),
        dv_(dv),
        dw_of_heads_(dw_of_heads),
        chunks_(math_, sizes_, k_, v_, idx_, kForBackward) {}

  void run() const {
    // 5 products a tile by head, 7 by row and by chunk: the cheaper one of the busiest thread.
    const int64_t heads = sizes_.batch * sizes_.kv_heads;
    const int64_t threads = at::get_num_threads();
    const int64_t heads_of_busiest = (heads + threads - 1) / threads;
    if (5 * heads_of_busiest * threads <= 7 * heads) {
      run_by_head();
    } else {
      run_by_row();
      run_by_chunk();
    }
  }

 private:
  using Element = typename Math::Element;

  struct Scratch {
    Scratch(const Math& math, const Sizes& sizes, int64_t chunk_elements)
        : rows(sizes.tile_queries * sizes.head_columns),
          q_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          dout_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          q(sizes.tile_queries * sizes.head_columns),
          dout(sizes.tile_queries * sizes.head_columns),
          q_depth(operand_size(sizes.tile_queries, sizes.head_columns)),
          dout_depth(operand_size(sizes.tile_queries, sizes.head_columns)),
          chunk(chunk_elements),
          operands(math.gradient_scratch_size(sizes.keys, sizes.tile_queries)),
          p(sizes.key_rows * sizes.tile_queries),
          ds(sizes.key_rows * sizes.tile_queries),
          dq(sizes.head_columns * sizes.tile_queries),
          lse(sizes.tile_queries),
          delta(sizes.tile_queries),
          zero(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer<float> rows;                            // (queries x dh)
    TileBuffer<Element> q_right, dout_right;           // depth dh
    TileBuffer<Element> q, dout, q_depth, dout_depth;  // rows; depth queries
    TileBuffer<Element> chunk, operands;
    TileBuffer<float> p, ds, dq, lse, delta, zero, factor;
    // Where the operands of the tile at hand lie.
    const Element *queries = nullptr, *douts = nullptr, *queries_depth = nullptr, *douts_depth = nullptr;
    ScoreGradientTiles<Element> gradients{};
    ChunkOperands<Element> of_chunk;  // the one at hand
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] const auto products = math_.products();
      Scratch scratch(math_, sizes_, chunks_.element_count());
      const int64_t chunk_floats = sizes_.key_rows * sizes_.head_columns;
      const TileBuffer<float> dk(sizes_.chunks * chunk_floats), dv(sizes_.chunks * chunk_floats);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / sizes_.kv_heads, kv_head = task % sizes_.kv_heads;
        std::fill_n(dk.data(), sizes_.chunks * chunk_floats, 0.0F);
        std::fill_n(dv.data(), sizes_.chunks * chunk_floats, 0.0F);
        for (int64_t row = 0; row < sizes_.rows; ++row) {
          row_gradients(batch, row, kv_head, scratch, [&](const Tile& tile, int64_t chunk) {
            add_chunk_gradients(tile, scratch, dk.data() + chunk * chunk_floats,
                                dv.data() + chunk * chunk_floats);
          });
        }
        for (int64_t chunk = 0; chunk < sizes_.chunks; ++chunk) {
          store_chunk_gradients(batch, chunk, kv_head, dk.data() + chunk * chunk_floats,
                                dv.data() + chunk * chunk_floats);
        }
      }
    });
  }

  void run_by_row() const {
    at::parallel_for(0, sizes_.batch * sizes_.rows * sizes_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] const auto products = math_.products();
      Scratch scratch(math_, sizes_, chunks_.element_count());
      for (int64_t task = begin; task < end; ++task) {
        row_gradients(task / sizes_.kv_heads / sizes_.rows, task / sizes_.kv_heads % sizes_.rows,
                      task % sizes_.kv_heads, scratch, [](const Tile&, int64_t) {});
      }
    });
  }

  void run_by_chunk() const {
    std::vector<std::vector<std::vector<Reader>>> readers;  // by batch entry, by chunk
    for (int64_t batch = 0; batch < sizes_.batch; ++batch) {
      readers.push_back(readers_of_chunks(sizes_, idx_, batch));
    }
    at::parallel_for(0, sizes_.batch * sizes_.chunks * sizes_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] const auto products = math_.products();
      Scratch scratch(math_, sizes_, chunks_.element_count());
      const int64_t chunk_floats = sizes_.key_rows * sizes_.head_columns;
      const TileBuffer<float> dk(chunk_floats), dv(chunk_floats);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t kv_head = task % sizes_.kv_heads;
        const int64_t chunk = task / sizes_.kv_heads % sizes_.chunks;
        const int64_t batch = task / sizes_.kv_heads / sizes_.chunks;
        std::fill_n(dk.data(), chunk_floats, 0.0F);
        std::fill_n(dv.data(), chunk_floats, 0.0F);
        for (const Reader& reader : readers[static_cast<size_t>(batch)][static_cast<size_t>(chunk)]) {
          const Tile tile = tile_of_row(sizes_, batch, reader.row, kv_head, reader.tile);
          if (tile.count <= 0) continue;
          load_tile_queries(tile, scratch);
          score_gradients(tile, reader.slot, chunk, scratch);
          add_chunk_gradients(tile, scratch, dk.data(), dv.data());
        }
        store_chunk_gradients(batch, chunk, kv_head, dk.data(), dv.data());
      }
    });
  }

  /// dq and this head's part of dw of one reading row. `visit(tile, chunk)` is called while the scratch holds
  /// the tile's weighted probabilities and score gradients for that chunk.
  template <typename Visit>
  void row_gradients(int64_t batch, int64_t row, int64_t kv_head, Scratch& s, Visit visit) const {
    float* dw = dw_of_heads_(batch, kv_head, row);
    for (int64_t number = 0; number < sizes_.tiles_per_row; ++number) {
      const Tile tile = tile_of_row(sizes_, batch, row, kv_head, number);
      if (tile.count <= 0) continue;
      load_tile_queries(tile, s);
      std::fill_n(s.dq.data(), sizes_.head_dim * tile.columns, 0.0F);
      for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
        const int32_t chunk = idx_(batch, row)[slot];
        if (chunk < 0) continue;
        score_gradients(tile, slot, chunk, s);
        for (int64_t i = 0; i < tile.count; ++i) dw[slot] += s.delta.data()[i];
        math_.product(sizes_.head_dim, tile.columns, sizes_.keys, s.of_chunk.keys_transposed,
                      s.gradients.ds_right, tile.columns, s.dq.data(), tile.columns, true);
        visit(tile, chunk);
      }
      floats_.transpose(sizes_.head_dim, tile.columns, s.dq.data(), tile.columns, s.rows.data(),
                        sizes_.head_columns);
      scale_floats(sizes_.scale, tile.count * sizes_.head_columns, s.rows.data());
      store_queries(floats_, sizes_, s.rows.data(), dq_, tile);
    }
  }

  void load_tile_queries(const Tile& tile, Scratch& s) const {
    const int64_t count = tile.count, stride = sizes_.head_columns;
    load_queries(math_, sizes_, q_, tile, s.q.data());
    load_queries(math_, sizes_, dout_, tile, s.dout.data());
    s.queries = math_.right_transposed(count, sizes_.head_dim, s.q.data(), stride, s.q_right.data());
    s.douts = math_.right_transposed(count, sizes_.head_dim, s.dout.data(), stride, s.dout_right.data());
    s.queries_depth = math_.right(count, sizes_.head_dim, s.q.data(), stride, s.q_depth.data());
    s.douts_depth = math_.right(count, sizes_.head_dim, s.dout.data(), stride, s.dout_depth.data());
    s.gradients = math_.gradient_tiles(sizes_.keys, s.p.data(), s.ds.data(), tile.columns, s.operands.data());
  }

  /// Leaves the chunk's operands in of_chunk, w p and dS in the gradients' operands (M x queries), and <dO,
  /// o_k> in delta.
  void score_gradients(const Tile& tile, int64_t slot, int64_t chunk, Scratch& s) const {
    const int64_t columns = tile.columns;
    s.of_chunk = chunks_.operands(tile, chunk, s.chunk.data());
    std::fill_n(s.lse.data(), columns, 0.0F);
    for_each_query_run(sizes_, lse_, tile, [&](int64_t i, int64_t count, const float* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u) s.lse.data()[i + u] = first[u * step + slot];
    });

    const int64_t rows = math_.whole_rows(sizes_.keys);
    math_.product(rows, columns, sizes_.head_dim, s.of_chunk.keys, s.queries, columns, s.p.data(), columns,
                  false);
    math_.product(rows, columns, sizes_.head_dim, s.of_chunk.values, s.douts, columns, s.ds.data(), columns,
                  false);
    std::fill_n(s.factor.data(), columns, 0.0F);
    if (sizes_.softmax_one) {
      std::fill_n(s.zero.data(), columns, 0.0F);
      floats_.exponential(1, columns, s.zero.data(), columns, 1.0F, s.lse.data(), s.factor.data());
    }
    std::fill_n(s.delta.data(), columns, 0.0F);
    math_.rebuild_probabilities(sizes_.keys, columns, s.gradients, sizes_.scale, s.lse.data(),
                                s.factor.data(), s.delta.data());
    // Probabilities sum to 1 but for the rounding of lse, which for scores of hundreds is larger than
    // gradients can bear.
    const float weight = w_(tile.batch, tile.row)[slot];
    for (int64_t i = 0; i < columns; ++i) {
      const float sum = s.factor.data()[i];
      s.delta.data()[i] /= sum;
      s.factor.data()[i] = weight / sum;
    }
    math_.score_gradient(sizes_.keys, columns, s.gradients, s.delta.data(), s.factor.data());
  }

  /// dv += (w p)^T dO and dk += dS^T q, of one tile; the scale of dk comes when it is stored.
  void add_chunk_gradients(const Tile& tile, const Scratch& s, float* dk, float* dv) const {
    const int64_t rows = math_.whole_rows(sizes_.keys);
    math_.product(rows, sizes_.head_columns, tile.count, math_.left(s.gradients.weighted, tile.columns),
                  s.douts_depth, sizes_.head_columns, dv, sizes_.head_columns, true);
    math_.product(rows, sizes_.head_columns, tile.count, math_.left(s.gradients.ds, tile.columns),
                  s.queries_depth, sizes_.head_columns, dk, sizes_.head_columns, true);
  }

  void store_chunk_gradients(int64_t batch, int64_t chunk, int64_t kv_head, float* dk, float* dv) const {
    scale_floats(sizes_.scale, sizes_.key_rows * sizes_.head_columns, dk);
    store_tile(floats_, sizes_.keys, sizes_.head_dim, dk, sizes_.head_columns, dk_(batch, chunk, 0, kv_head),
               dk_.stride(2));
    store_tile(floats_, sizes_.keys, sizes_.head_dim, dv, sizes_.head_columns, dv_(batch, chunk, 0, kv_head),
               dv_.stride(2));
  }

  const Math& math_;
  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> dout_, q_;
  RowView<const T, 4> k_, v_;
  RowView<const int32_t, 2> idx_;
  RowView<const float, 2> w_;
  RowView<const float, 3> lse_;
  RowView<T, 3> dq_;
  RowView<T, 4> dk_, dv_;
  RowView<float, 3> dw_of_heads_;
  PackedChunks<T, Math> chunks_;
};

}  // namespace
}  // namespace grouped

GcaGradients gca_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                              const at::Tensor& lse, const GcaOptions& options) {
  at::Tensor dq = at::empty(q.sizes(), q.options());
  at::Tensor dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options());
  at::Tensor dw_of_heads = at::zeros({w.size(0), k.size(3), w.size(1), w.size(2)}, w.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    grouped::Backward<T, Math>(math, with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k),
                               with_dense_rows(v), with_dense_rows(idx), with_dense_rows(w),
                               with_dense_rows(lse), dq, dk, dv, dw_of_heads, options)
        .run();
  });
  return {dq, dk, dv, dw_of_heads.sum(1)};
}

}  // namespace gca::kernels
