// Grouped cross-attention on a CPU.
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// The unit of work is a tile: up to 96 queries of one reading row and one key/value head (the query heads
// that share it stand together) against the M keys of one chunk. Its two products forward and five backward
// bound the speed: with M and dh around 64 everything lies in the first- and second-level cache, so the
// multiply-add units are the limit and the exponential costs about a tenth. A single query (decoding) is
// bound by reading keys and values once.
//
//   float32     tiles in float32
//   bfloat16    the same: operands become float on their way into a tile, so probabilities are not rounded
//
// Scores are kept transposed, a row a key (tile_kernels.h). Backward rebuilds p from lse. Two orders of work
// give the same bits, because each chunk's dK and dV are summed over its readers by rising (row, tile, slot)
// in both:
//
//   by head      a thread owns a (batch, key/value head) and walks its rows once: 5 products a tile
//   by row and by chunk   rows for dq and dw, then chunks for dK and dV through an inverse index: 7 products,
//   but any
//                number of threads has work
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/tile_kernels.h"
#include "kernels/common/tile_operand.h"
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

template <typename T>
void load_queries(const TileKernels& kernels, const Sizes& sizes, const RowView<const T, 3>& view,
                  const Tile& tile, float* to) {
  for_each_query_run(sizes, view, tile, [&](int64_t i, int64_t count, const T* first, int64_t step) {
    load_tile(kernels, count, sizes.head_dim, first, step, to + i * sizes.head_columns, sizes.head_columns);
  });
}

template <typename T>
void store_queries(const TileKernels& kernels, const Sizes& sizes, const float* from,
                   const RowView<T, 3>& view, const Tile& tile) {
  for_each_query_run(sizes, view, tile, [&](int64_t i, int64_t count, T* first, int64_t step) {
    store_tile(kernels, count, sizes.head_dim, from + i * sizes.head_columns, sizes.head_columns, first,
               step);
  });
}

/// Keys or values of one chunk and head.
template <typename T>
void load_chunk(const TileKernels& kernels, const Sizes& sizes, const RowView<const T, 4>& view,
                const Tile& tile, int64_t chunk, float* to) {
  load_tile(kernels, sizes.keys, sizes.head_dim, view(tile.batch, chunk, 0, tile.kv_head), view.stride(2), to,
            sizes.head_columns);
}

/// One query against one chunk: adds w o_k to `out` (head_columns floats), returns lse. `score` holds M
/// floats.
float read_chunk_with_one_query(const TileKernels& kernels, const Sizes& sizes, const float* query,
                                const FloatRows& keys, const FloatRows& values, float weight, float* score,
                                float* out) {
  kernels.row_products(sizes.keys, sizes.head_dim, keys.data, keys.stride, query, 0, score);
  float largest = sizes.softmax_one ? 0.0F : -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < sizes.keys; ++j) largest = std::max(largest, score[j] *= sizes.scale);
  float denominator = sizes.softmax_one ? std::exp(-largest) : 0.0F;
  for (int64_t j = 0; j < sizes.keys; ++j) denominator += score[j] = std::exp(score[j] - largest);
  for (int64_t j = 0; j < sizes.keys; ++j) score[j] *= weight / denominator;
  kernels.product(1, sizes.head_columns, sizes.keys, score, sizes.keys, 1, values.data, values.stride, out,
                  sizes.head_columns, true);
  return largest + std::log(denominator);
}

template <typename T>
class Forward {
 public:
  Forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& idx,
          const at::Tensor& w, at::Tensor& out, at::Tensor& lse, const GcaOptions& options)
      : sizes_(q, k, idx, options), q_(q), k_(k), v_(v), out_(out), idx_(idx), w_(w), lse_(lse) {}

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
  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(sizes.tile_queries * sizes.head_columns),
          q_transposed(sizes.head_columns * sizes.tile_queries),
          out(sizes.tile_queries * sizes.head_columns),
          k(sizes.keys * sizes.head_columns),
          v(sizes.keys * sizes.head_columns),
          score(sizes.keys * std::max(sizes.tile_queries, kTileColumns)),
          zero(sizes.tile_queries),
          largest(sizes.tile_queries),
          denominator(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer q, q_transposed, out, k, v, score, zero, largest, denominator, factor;
  };

  void read_with_tile(const Tile& tile, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns;
    load_queries(kernels_, sizes_, q_, tile, s.q.data());
    kernels_.transpose(tile.count, sizes_.head_dim, s.q.data(), head_columns, s.q_transposed.data(),
                       tile.columns);

    bool has_output = false;
    for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
      const int32_t chunk = idx_(tile.batch, tile.row)[slot];
      if (chunk < 0) {
        set_lse(tile, slot, [](int64_t) { return 0.0F; });
        continue;
      }
      load_chunk(kernels_, sizes_, k_, tile, chunk, s.k.data());
      load_chunk(kernels_, sizes_, v_, tile, chunk, s.v.data());
      kernels_.product(sizes_.keys, tile.columns, sizes_.head_dim, s.k.data(), head_columns, 1,
                       s.q_transposed.data(), tile.columns, s.score.data(), tile.columns, false);

      std::fill_n(s.largest.data(), tile.columns,
                  sizes_.softmax_one ? 0.0F : -std::numeric_limits<float>::infinity());
      kernels_.largest_score(sizes_.keys, tile.columns, s.score.data(), tile.columns, sizes_.scale,
                             s.largest.data());
      std::fill_n(s.denominator.data(), tile.columns, 0.0F);
      if (sizes_.softmax_one) {
        std::fill_n(s.zero.data(), tile.columns, 0.0F);
        kernels_.exponential(1, tile.columns, s.zero.data(), tile.columns, 1.0F, s.largest.data(),
                             s.denominator.data());
      }
      kernels_.exponential(sizes_.keys, tile.columns, s.score.data(), tile.columns, sizes_.scale,
                           s.largest.data(), s.denominator.data());

      const float weight = w_(tile.batch, tile.row)[slot];
      for (int64_t i = 0; i < tile.count; ++i) s.factor.data()[i] = weight / s.denominator.data()[i];
      set_lse(tile, slot, [&](int64_t i) { return s.largest.data()[i] + std::log(s.denominator.data()[i]); });
      kernels_.scale_columns(sizes_.keys, tile.columns, s.score.data(), tile.columns, s.factor.data());
      kernels_.product(tile.count, head_columns, sizes_.keys, s.score.data(), 1, tile.columns, s.v.data(),
                       head_columns, s.out.data(), head_columns, has_output);
      has_output = true;
    }
    if (!has_output) std::fill_n(s.out.data(), tile.count * head_columns, 0.0F);
    store_queries(kernels_, sizes_, s.out.data(), out_, tile);
  }

  void read_with_few_queries(const Tile& tile, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns;
    load_queries(kernels_, sizes_, q_, tile, s.q.data());
    std::fill_n(s.out.data(), tile.count * head_columns, 0.0F);
    for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
      const int32_t chunk = idx_(tile.batch, tile.row)[slot];
      if (chunk < 0) {
        set_lse(tile, slot, [](int64_t) { return 0.0F; });
        continue;
      }
      const FloatRows keys = rows_in_place(kernels_, sizes_.keys, sizes_.head_dim,
                                           k_(tile.batch, chunk, 0, tile.kv_head), k_.stride(2), s.k.data());
      const FloatRows values =
          rows_in_place(kernels_, sizes_.keys, sizes_.head_dim, v_(tile.batch, chunk, 0, tile.kv_head),
                        v_.stride(2), s.v.data());
      set_lse(tile, slot, [&](int64_t i) {
        return read_chunk_with_one_query(kernels_, sizes_, s.q.data() + i * head_columns, keys, values,
                                         w_(tile.batch, tile.row)[slot], s.score.data(),
                                         s.out.data() + i * head_columns);
      });
    }
    store_queries(kernels_, sizes_, s.out.data(), out_, tile);
  }

  /// lse of every query of a tile, by `value(i)`.
  template <typename Value>
  void set_lse(const Tile& tile, int64_t slot, Value value) const {
    for_each_query_run(sizes_, lse_, tile, [&](int64_t i, int64_t count, float* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u) first[u * step + slot] = value(i + u);
    });
  }

  const TileKernels& kernels_ = tile_kernels();
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

template <typename T>
class Backward {
 public:
  Backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const at::Tensor& idx, const at::Tensor& w, const at::Tensor& lse, at::Tensor& dq, at::Tensor& dk,
           at::Tensor& dv, at::Tensor& dw_of_heads, const GcaOptions& options)
      : sizes_(q, k, idx, options),
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
  struct Scratch {
    explicit Scratch(const Sizes& sizes)
        : q(sizes.tile_queries * sizes.head_columns),
          q_transposed(sizes.head_columns * sizes.tile_queries),
          dout(sizes.tile_queries * sizes.head_columns),
          dout_transposed(sizes.head_columns * sizes.tile_queries),
          dq(sizes.tile_queries * sizes.head_columns),
          k(sizes.keys * sizes.head_columns),
          v(sizes.keys * sizes.head_columns),
          p(sizes.keys * sizes.tile_queries),
          ds(sizes.keys * sizes.tile_queries),
          lse(sizes.tile_queries),
          delta(sizes.tile_queries),
          zero(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer q, q_transposed, dout, dout_transposed, dq, k, v, p, ds, lse, delta, zero, factor;
  };

  void run_by_head() const {
    at::parallel_for(0, sizes_.batch * sizes_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(sizes_);
      const int64_t chunk_floats = sizes_.keys * sizes_.head_columns;
      const TileBuffer dk(sizes_.chunks * chunk_floats), dv(sizes_.chunks * chunk_floats);
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
      Scratch scratch(sizes_);
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
      Scratch scratch(sizes_);
      const int64_t chunk_floats = sizes_.keys * sizes_.head_columns;
      const TileBuffer dk(chunk_floats), dv(chunk_floats);
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
      std::fill_n(s.dq.data(), tile.count * sizes_.head_columns, 0.0F);
      for (int64_t slot = 0; slot < sizes_.slots; ++slot) {
        const int32_t chunk = idx_(batch, row)[slot];
        if (chunk < 0) continue;
        score_gradients(tile, slot, chunk, s);
        for (int64_t i = 0; i < tile.count; ++i) dw[slot] += s.delta.data()[i];
        kernels_.product(tile.count, sizes_.head_columns, sizes_.keys, s.ds.data(), 1, tile.columns,
                         s.k.data(), sizes_.head_columns, s.dq.data(), sizes_.head_columns, true);
        visit(tile, chunk);
      }
      scale_floats(sizes_.scale, tile.count * sizes_.head_columns, s.dq.data());
      store_queries(kernels_, sizes_, s.dq.data(), dq_, tile);
    }
  }

  void load_tile_queries(const Tile& tile, Scratch& s) const {
    load_queries(kernels_, sizes_, q_, tile, s.q.data());
    load_queries(kernels_, sizes_, dout_, tile, s.dout.data());
    kernels_.transpose(tile.count, sizes_.head_dim, s.q.data(), sizes_.head_columns, s.q_transposed.data(),
                       tile.columns);
    kernels_.transpose(tile.count, sizes_.head_dim, s.dout.data(), sizes_.head_columns,
                       s.dout_transposed.data(), tile.columns);
  }

  /// Leaves K in k, w p in p, dS in ds (both M x queries) and <dO, o_k> in delta.
  void score_gradients(const Tile& tile, int64_t slot, int64_t chunk, Scratch& s) const {
    const int64_t head_columns = sizes_.head_columns, columns = tile.columns;
    load_chunk(kernels_, sizes_, k_, tile, chunk, s.k.data());
    load_chunk(kernels_, sizes_, v_, tile, chunk, s.v.data());
    for_each_query_run(sizes_, lse_, tile, [&](int64_t i, int64_t count, const float* first, int64_t step) {
      for (int64_t u = 0; u < count; ++u) s.lse.data()[i + u] = first[u * step + slot];
    });

    kernels_.product(sizes_.keys, columns, sizes_.head_dim, s.k.data(), head_columns, 1,
                     s.q_transposed.data(), columns, s.p.data(), columns, false);
    std::fill_n(s.factor.data(), columns, 0.0F);
    if (sizes_.softmax_one) {
      std::fill_n(s.zero.data(), columns, 0.0F);
      kernels_.exponential(1, columns, s.zero.data(), columns, 1.0F, s.lse.data(), s.factor.data());
    }
    kernels_.exponential(sizes_.keys, columns, s.p.data(), columns, sizes_.scale, s.lse.data(),
                         s.factor.data());
    kernels_.product(sizes_.keys, columns, sizes_.head_dim, s.v.data(), head_columns, 1,
                     s.dout_transposed.data(), columns, s.ds.data(), columns, false);
    std::fill_n(s.delta.data(), columns, 0.0F);
    kernels_.column_products(sizes_.keys, columns, s.p.data(), s.ds.data(), columns, s.delta.data());
    // Probabilities sum to 1 but for the rounding of lse, which for scores of hundreds is larger than
    // gradients can bear.
    const float weight = w_(tile.batch, tile.row)[slot];
    for (int64_t i = 0; i < columns; ++i) {
      const float sum = s.factor.data()[i];
      s.delta.data()[i] /= sum;
      s.factor.data()[i] = weight / sum;
    }
    kernels_.score_gradient(sizes_.keys, columns, s.p.data(), s.ds.data(), columns, s.delta.data(),
                            s.factor.data());
  }

  /// dv += (w p)^T dO and dk += dS^T q, of one tile; the scale of dk comes when it is stored.
  void add_chunk_gradients(const Tile& tile, const Scratch& s, float* dk, float* dv) const {
    kernels_.product(sizes_.keys, sizes_.head_columns, tile.count, s.p.data(), tile.columns, 1, s.dout.data(),
                     sizes_.head_columns, dv, sizes_.head_columns, true);
    kernels_.product(sizes_.keys, sizes_.head_columns, tile.count, s.ds.data(), tile.columns, 1, s.q.data(),
                     sizes_.head_columns, dk, sizes_.head_columns, true);
  }

  void store_chunk_gradients(int64_t batch, int64_t chunk, int64_t kv_head, float* dk, float* dv) const {
    scale_floats(sizes_.scale, sizes_.keys * sizes_.head_columns, dk);
    store_tile(kernels_, sizes_.keys, sizes_.head_dim, dk, sizes_.head_columns, dk_(batch, chunk, 0, kv_head),
               dk_.stride(2));
    store_tile(kernels_, sizes_.keys, sizes_.head_dim, dv, sizes_.head_columns, dv_(batch, chunk, 0, kv_head),
               dv_.stride(2));
  }

  const TileKernels& kernels_ = tile_kernels();
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

GcaForwardResult gca_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2), idx.size(2)}, w.options());
  with_element_type(q, [&]<typename T>(T) {
    Forward<T>(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), with_dense_rows(idx),
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
  with_element_type(q, [&]<typename T>(T) {
    Backward<T>(with_dense_rows(dout), with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                with_dense_rows(idx), with_dense_rows(w), with_dense_rows(lse), dq, dk, dv, dw_of_heads,
                options)
        .run();
  });
  return {dq, dk, dv, dw_of_heads.sum(1)};
}

}  // namespace gca::kernels
