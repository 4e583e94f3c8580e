// Grouped cross-attention on a CPU.
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// The unit of work is a tile: up to 96 queries of one reading row and one key/value head (the query heads
// that share it stand together) against the M keys of one chunk. Its two products forward and five backward
// bound the speed: with M and dh around 64 everything lies in the first- and second-level cache, so the
// multiply-add units are the limit; the exponentials cost about a tenth, packing operands less. A single
// query (decoding) is bound by reading keys and values once.
//
//   float32     tiles in float32
//   bfloat16    on a processor that multiplies bf16, tiles in bf16: probabilities and dS are rounded on their
//               way into a product; elsewhere tiles in float32, and nothing is rounded
//
// Scores are kept transposed, a row a key, and so are the sums over chunks, a row an element of the head:
// every factor of a query (w_k over the softmax's denominator) then multiplies columns, and a product adds to
// them as it ends. Backward rebuilds p from lse. Two orders of work give the same bits, because each chunk's
// dK and dV are summed over its readers by rising (row, tile, slot) in both:
//
//   by head      a thread owns a (batch, key/value head) and walks its rows once: 5 products a tile
//   by row and by chunk   rows for dq and dw, then chunks for dK and dV through an inverse index: 7 products,
//                but any number of threads has work
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/tile_math.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention_versions.h"

namespace gca::kernels {
namespace {

constexpr int64_t kMaxTileQueries = 96;
// Up to so many queries are read key by key: a tile would be mostly padding.
constexpr int64_t kFewQueries = 4;

struct Sizes {
  int64_t batch, positions, heads, head_dim;
  int64_t chunks, keys, kv_heads;
  int64_t rows, slots;
  int64_t heads_per_kv;
  int64_t head_columns;   // head_dim, padded
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

Tile tile_of_row(const Sizes& sizes, int64_t batch, int64_t row, int64_t kv_head, int64_t number) {
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

/// Keys or values of one chunk and head as left operand (M x dh).
template <typename T, typename Math>
LeftOperand<typename Math::Element> chunk_rows(const Math& math, const Sizes& sizes,
                                               const RowView<const T, 4>& view, const Tile& tile,
                                               int64_t chunk, typename Math::Element* memory) {
  return math.rows_left(sizes.keys, sizes.head_dim, view(tile.batch, chunk, 0, tile.kv_head), view.stride(2),
                        memory, sizes.head_columns);
}

template <typename T, typename Math>
class Forward {
 public:
  Forward(const Math& math, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
          const at::Tensor& idx, const at::Tensor& w, at::Tensor& out, at::Tensor& lse,
          const GcaOptions& options)
      : math_(math),
        sizes_(q, k, idx, options),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        idx_(idx),
        w_(w),
        lse_(lse) {}

  void run() const {
    const int64_t tasks = sizes_.batch * sizes_.rows * sizes_.kv_heads;
    at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t kv_head = task % sizes_.kv_heads;
        const int64_t row = task / sizes_.kv_heads % sizes_.rows;
        for (int64_t number = 0; number < sizes_.tiles_per_row; ++number) {
          const Tile tile = tile_of_row(sizes_, task / sizes_.kv_heads / sizes_.rows, row, kv_head, number);
          if (tile.count <= 0) continue;
          if (tile.count <= kFewQueries) {
            read_with_few_queries(tile, scratch);
          } else {
            read_with_tile(tile, scratch);
          }
        }
      }
    });
  }

 private:
  using Element = typename Math::Element;

  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(sizes.tile_queries * sizes.head_columns),
          q_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          k(sizes.keys * sizes.head_columns),
          v(sizes.keys * sizes.head_columns),
          v_left(operand_size(sizes.head_columns, sizes.keys)),
          p(operand_size(sizes.keys, sizes.tile_queries)),
          score(sizes.keys * std::max(sizes.tile_queries, kTileColumns)),
          sum(sizes.head_columns * std::max(sizes.tile_queries, kTileColumns)),
          out(sizes.tile_queries * sizes.head_columns),
          largest(sizes.tile_queries),
          denominator(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer<Element> q, q_right, k, v, v_left, p;
    TileBuffer<float> score, sum, out, largest, denominator, factor;
  };

  void read_with_tile(const Tile& tile, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = tile.columns;
    load_queries(math_, sizes_, q_, tile, s.q.data());
    const Element* queries =
        math_.right_transposed(tile.count, sizes_.head_dim, s.q.data(), head_columns, s.q_right.data());
    std::fill_n(s.sum.data(), sizes_.head_dim * columns, 0.0F);
    for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
      const int32_t chunk = idx_(tile.batch, tile.row)[slot];
      if (chunk < 0) {
        set_lse(tile, slot, [](int64_t) { return 0.0F; });
      } else {
        read_chunk(tile, slot, chunk, queries, s);
      }
    }
    floats_.transpose(sizes_.head_dim, columns, s.sum.data(), columns, s.out.data(), head_columns);
    store_queries(floats_, sizes_, s.out.data(), out_, tile);
  }

  /// sum (dh x queries) += w_k o_k.
  void read_chunk(const Tile& tile, int64_t slot, int64_t chunk, const Element* queries, Scratch& s) const {
    const int64_t columns = tile.columns, keys = sizes_.keys;
    float* score = s.score.data();
    math_.product(keys, columns, sizes_.head_dim, chunk_rows(math_, sizes_, k_, tile, chunk, s.k.data()),
                  queries, columns, score, columns, false);

    std::fill_n(s.largest.data(), columns,
                sizes_.softmax_one ? 0.0F : -std::numeric_limits<float>::infinity());
    floats_.largest_score(keys, columns, score, columns, sizes_.scale, s.largest.data());
    std::fill_n(s.denominator.data(), columns, 0.0F);
    if (sizes_.softmax_one) {
      std::fill_n(s.factor.data(), columns, 0.0F);  // the score of the added key
      floats_.exponential(1, columns, s.factor.data(), columns, 1.0F, s.largest.data(), s.denominator.data());
    }
    const ScoreBlock all{0, keys, 0, columns};
    math_.probabilities(all, score, columns, sizes_.scale, s.largest.data(), s.denominator.data(),
                        s.p.data());
    const float weight = w_(tile.batch, tile.row)[slot];
    for (int64_t i = 0; i < columns; ++i) s.factor.data()[i] = weight / s.denominator.data()[i];
    const auto values = chunk_rows(math_, sizes_, v_, tile, chunk, s.v.data());
    math_.product(sizes_.head_dim, columns, keys,
                  math_.left_transposed(keys, sizes_.head_dim, values, s.v_left.data()),
                  math_.probabilities_operand(score, s.p.data()), columns, s.sum.data(), columns, true,
                  s.factor.data());

    floats_.logarithm(columns, s.denominator.data());
    set_lse(tile, slot, [&](int64_t i) { return s.largest.data()[i] + s.denominator.data()[i]; });
  }

  void read_with_few_queries(const Tile& tile, Scratch& s) const {
    for_each_query_run(sizes_, q_, tile, [&](int64_t i, int64_t count, const T* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u)
        load_tile(floats_, 1, sizes_.head_dim, first + u * step, step,
                  s.out.data() + (i + u) * sizes_.head_columns, sizes_.head_columns);
    });
    std::fill_n(s.sum.data(), tile.count * sizes_.head_columns, 0.0F);
    for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
      const int32_t chunk = idx_(tile.batch, tile.row)[slot];
      set_lse(tile, slot, [&](int64_t i) {
        return chunk < 0 ? 0.0F : read_chunk_with_one_query(tile, slot, chunk, i, s);
      });
    }
    store_queries(floats_, sizes_, s.sum.data(), out_, tile);
  }

  /// Query i, in out, against one chunk: adds w o_k to its row of sum, returns lse.
  float read_chunk_with_one_query(const Tile& tile, int64_t slot, int64_t chunk, int64_t i,
                                  Scratch& s) const {
    const HeadRows<T> rows{k_(tile.batch, chunk, 0, tile.kv_head), v_(tile.batch, chunk, 0, tile.kv_head),
                           k_.stride(2), v_.stride(2), sizes_.keys};
    const OneQueryScores scores{
        .scale = sizes_.scale, .softmax_one = sizes_.softmax_one, .weight = w_(tile.batch, tile.row)[slot]};
    return read_with_one_query(floats_, sizes_.head_dim, s.out.data() + i * sizes_.head_columns, rows, scores,
                               s.score.data(), s.sum.data() + i * sizes_.head_columns);
  }

  /// lse of every query of a tile, by `value(i)`.
  template <typename Value>
  void set_lse(const Tile& tile, int64_t slot, Value value) const {
    for_each_query_run(sizes_, lse_, tile, [&](int64_t i, int64_t count, float* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u) first[u * step + slot] = value(i + u);
    });
  }

  const Math& math_;
  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  RowView<const T, 3> q_;
  RowView<const T, 4> k_, v_;
  RowView<T, 3> out_;
  RowView<const int32_t, 2> idx_;
  RowView<const float, 2> w_;
  RowView<float, 3> lse_;
};

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
        dw_of_heads_(dw_of_heads) {}

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
    Scratch(const Math& math, const Sizes& sizes)
        : rows(sizes.tile_queries * sizes.head_columns),
          q_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          dout_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          q(sizes.tile_queries * sizes.head_columns),
          dout(sizes.tile_queries * sizes.head_columns),
          q_depth(operand_size(sizes.tile_queries, sizes.head_columns)),
          dout_depth(operand_size(sizes.tile_queries, sizes.head_columns)),
          k(sizes.keys * sizes.head_columns),
          v(sizes.keys * sizes.head_columns),
          k_left(operand_size(sizes.head_columns, sizes.keys)),
          operands(math.gradient_scratch_size(sizes.keys, sizes.tile_queries)),
          p(sizes.keys * sizes.tile_queries),
          ds(sizes.keys * sizes.tile_queries),
          dq(sizes.head_columns * sizes.tile_queries),
          lse(sizes.tile_queries),
          delta(sizes.tile_queries),
          zero(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer<float> rows;                            // (queries x dh)
    TileBuffer<Element> q_right, dout_right;           // depth dh
    TileBuffer<Element> q, dout, q_depth, dout_depth;  // rows; depth queries
    TileBuffer<Element> k, v, k_left, operands;
    TileBuffer<float> p, ds, dq, lse, delta, zero, factor;
    // Where the operands of the tile at hand lie.
    const Element *queries = nullptr, *douts = nullptr, *queries_depth = nullptr, *douts_depth = nullptr;
    ScoreGradientTiles<Element> gradients{};
    LeftOperand<Element> keys{};  // of the chunk at hand
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(math_, sizes_);
      const int64_t chunk_floats = sizes_.keys * sizes_.head_columns;
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
      Scratch scratch(math_, sizes_);
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
      Scratch scratch(math_, sizes_);
      const int64_t chunk_floats = sizes_.keys * sizes_.head_columns;
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
        math_.product(sizes_.head_dim, tile.columns, sizes_.keys,
                      math_.left_transposed(sizes_.keys, sizes_.head_dim, s.keys, s.k_left.data()),
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

  /// Leaves K in keys, w p and dS in the gradients' operands (M x queries), and <dO, o_k> in delta.
  void score_gradients(const Tile& tile, int64_t slot, int64_t chunk, Scratch& s) const {
    const int64_t columns = tile.columns;
    s.keys = chunk_rows(math_, sizes_, k_, tile, chunk, s.k.data());
    std::fill_n(s.lse.data(), columns, 0.0F);
    for_each_query_run(sizes_, lse_, tile, [&](int64_t i, int64_t count, const float* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u) s.lse.data()[i + u] = first[u * step + slot];
    });

    math_.product(sizes_.keys, columns, sizes_.head_dim, s.keys, s.queries, columns, s.p.data(), columns,
                  false);
    math_.product(sizes_.keys, columns, sizes_.head_dim,
                  chunk_rows(math_, sizes_, v_, tile, chunk, s.v.data()), s.douts, columns, s.ds.data(),
                  columns, false);
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
    math_.product(sizes_.keys, sizes_.head_columns, tile.count,
                  math_.left(s.gradients.weighted, tile.columns), s.douts_depth, sizes_.head_columns, dv,
                  sizes_.head_columns, true);
    math_.product(sizes_.keys, sizes_.head_columns, tile.count, math_.left(s.gradients.ds, tile.columns),
                  s.queries_depth, sizes_.head_columns, dk, sizes_.head_columns, true);
  }

  void store_chunk_gradients(int64_t batch, int64_t chunk, int64_t kv_head, float* dk, float* dv) const {
    scale_floats(sizes_.scale, sizes_.keys * sizes_.head_columns, dk);
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
};

}  // namespace

GcaForwardResult gca_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2), idx.size(2)}, w.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    Forward<T, Math>(math, with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), with_dense_rows(idx),
                     with_dense_rows(w), out, lse, options)
        .run();
  });
  return {out, lse};
}

GcaGradients gca_backward_cpu(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const at::Tensor& idx, const at::Tensor& w,
                              const at::Tensor& lse, const GcaOptions& options) {
  at::Tensor dq = at::empty(q.sizes(), q.options());
  at::Tensor dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options());
  at::Tensor dw_of_heads = at::zeros({w.size(0), k.size(3), w.size(1), w.size(2)}, w.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    Backward<T, Math>(math, with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                      with_dense_rows(idx), with_dense_rows(w), with_dense_rows(lse), dq, dk, dv, dw_of_heads,
                      options)
        .run();
  });
  return {dq, dk, dv, dw_of_heads.sum(1)};
}

}  // namespace gca::kernels
