// Grouped cross-attention on a CPU, forward.
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// A tile (grouped_cross_attention_tiles.h) takes two products, which bound the speed: with M and dh around 64
// everything lies in the first- and second-level cache, so the multiply-add units are the limit; the
// exponentials cost a tenth. The factor of a query, w_k over the softmax's denominator, enters as the second
// product is added to the sum. A single query (decoding) is bound by reading keys and values once.
//
//   float32     tiles in float32
//   bfloat16    on a processor that multiplies bf16, tiles in bf16: probabilities are rounded on their way into
//               the second product; elsewhere tiles in float32, and nothing is rounded
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/one_query_attention.h"
#include "kernels/grouped_cross_attention/packed_chunks.h"

namespace gca::kernels {
namespace grouped {
namespace {

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
        lse_(lse),
        chunks_(math_, sizes_, k_, v_, idx_, kForForward) {}

  void run() const {
    const int64_t tasks = sizes_.batch * sizes_.rows * sizes_.kv_heads;
    run_tasks(tasks, [&](TaskQueue& queue) {
      [[maybe_unused]] const auto products = math_.products();
      Scratch scratch(sizes_, chunks_.element_count());
      for (int64_t task; queue.take(task);) {
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
    Scratch(const Sizes& sizes, int64_t chunk_elements)
        : q(sizes.tile_queries * sizes.head_columns),
          q_right(operand_size(sizes.head_columns, sizes.tile_queries)),
          chunk(chunk_elements),
          p(operand_size(sizes.keys, sizes.tile_queries)),
          score(sizes.key_rows * std::max(sizes.tile_queries, kTileColumns)),
          sum(sizes.head_columns * std::max(sizes.tile_queries, kTileColumns)),
          out(sizes.tile_queries * sizes.head_columns),
          largest(sizes.tile_queries),
          denominator(sizes.tile_queries),
          factor(sizes.tile_queries) {}
    TileBuffer<Element> q, q_right, chunk, p;
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
    const auto operands = chunks_.operands(tile, chunk, s.chunk.data());
    math_.product(math_.whole_rows(keys), columns, sizes_.head_dim, operands.keys, queries, columns, score,
                  columns, false);

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
    math_.product(sizes_.head_dim, columns, keys, operands.values_transposed,
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
  PackedChunks<T, Math> chunks_;
};

}  // namespace
}  // namespace grouped

GcaForwardResult gca_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& idx, const at::Tensor& w, const GcaOptions& options) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2), idx.size(2)}, w.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    grouped::Forward<T, Math>(math, with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                              with_dense_rows(idx), with_dense_rows(w), out, lse, options)
        .run();
  });
  return {out, lse};
}

}  // namespace gca::kernels
