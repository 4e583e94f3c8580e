// Sliding-window attention on a CPU, forward.
//
//   s_ij = q_i . k_j * scale - slope_h (i - j)   for 0 <= i - j <= W, else masked
//   out_i = softmax_j(s_ij) v_j
//
// A tile (sliding_window_tiles.h) takes two products, which bound the speed: its operands lie in the first-
// and second-level cache, so the multiply-add units are the limit; the exponentials cost about a tenth. A
// single query (decoding) is bound by reading W keys and values once.
//
//   float32     tiles in float32
//   bfloat16    on a processor that multiplies bf16, tiles in bf16: probabilities are rounded on their way into
//               the second product; elsewhere tiles in float32, and nothing is rounded
//
// A running maximum and sum a query: the tile of the query's own position comes first, so that the maximum is
// finite from the start, and with it the nearest keys, which the bias favours: later tiles seldom raise the
// maximum, and what was summed is scaled only when they do.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/task_queue.h"
#include "kernels/sliding_window_attention/sliding_window_tiles.h"

namespace gca::kernels {
namespace window {
namespace {

template <typename T, typename Math>
class Forward {
 public:
  Forward(const Math& math, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
          const at::Tensor& slopes, at::Tensor& out, at::Tensor& lse, int64_t window, double scale)
      : math_(math),
        sizes_(q, k, window, scale),
        heads_per_kv_(q.size(2) / k.size(2)),
        q_(q),
        k_(k),
        v_(v),
        slopes_(slopes),
        out_(out),
        lse_(lse) {}

  void run() const {
    // Runs of tiles of one head: neighbours share their key tiles, which a thread keeps.
    const int64_t runs = (sizes_.tiles + kRun - 1) / kRun;
    run_tasks(sizes_.batch * sizes_.heads * runs, [&](TaskQueue& queue) {
      [[maybe_unused]] const auto products = math_.products();
      const bool few = sizes_.positions <= kFewQueries;
      Scratch scratch(sizes_, few);
      KeyTiles<T, Math> tiles(math_, sizes_, k_, v_, Transposed::values);
      for (int64_t task; queue.take(task);) {
        const int64_t batch = task / runs / sizes_.heads, head = task / runs % sizes_.heads;
        const int64_t first = task % runs * kRun;
        for (int64_t number = first; number < std::min(first + kRun, sizes_.tiles); ++number) {
          const Tile queries = query_tile(sizes_, batch, head, number);
          if (few) {
            for (int64_t i = 0; i < queries.count; ++i) attend_with_one_query(queries, i, scratch);
          } else {
            attend_with_tile(queries, number, tiles, scratch);
          }
        }
      }
    });
  }

 private:
  static constexpr int64_t kRun = 16;  // query tiles of a task

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
      const TilePair pair(sizes_, queries, key_tile(sizes_, queries.batch, kv_head_of(queries), other),
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
    const HeadRows<T> rows{k_(query.batch, first, kv_head_of(query)),
                           v_(query.batch, first, kv_head_of(query)), k_.stride(1), v_.stride(1), keys};
    const OneQueryScores scores{
        .scale = sizes_.scale, .bias = -slope * static_cast<float>(keys - 1), .bias_step = slope};
    std::fill_n(s.sum.data(), sizes_.head_dim, 0.0F);
    lse_(query.batch, query.head)[query.first] = read_with_one_query(
        floats_, sizes_.head_dim, s.out.data(), rows, scores, s.score.data(), s.sum.data());
    store(floats_, sizes_, s.sum.data(), out_, query);
  }

  int64_t kv_head_of(const Tile& queries) const { return queries.head / heads_per_kv_; }

  const Math& math_;
  const TileKernels& floats_ = tile_kernels();
  Sizes sizes_;
  int64_t heads_per_kv_;
  RowView<const T, 3> q_, k_, v_;
  RowView<const float, 1> slopes_;
  RowView<T, 3> out_;
  RowView<float, 2> lse_;
};

}  // namespace
}  // namespace window

WindowForwardResult window_forward_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                       const at::Tensor& slopes, int64_t window, double scale) {
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, slopes.options());
  with_tile_math(q, [&]<typename T, typename Math>(T, const Math& math) {
    window::Forward<T, Math>(math, with_dense_rows(q), with_dense_rows(k), with_dense_rows(v),
                             slopes.contiguous(), out, lse, window, scale)
        .run();
  });
  return {out, lse};
}

}  // namespace gca::kernels
