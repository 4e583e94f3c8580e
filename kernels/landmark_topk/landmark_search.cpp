// fast: float32 on the CPU. Landmarks in blocks, each for a group of queries while it is in the cache. A row
// collects candidates, by the int8 copy where there is one, and scores at the end those that still have a
// chance. Threads share the groups of many queries; for few they share the landmarks, a stretch of blocks each.
//
// reference: all scores at once, then a stable sort.

#include "kernels/landmark_topk/landmark_search.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <tuple>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/int8_products.h"
#include "kernels/common/named_work.h"
#include "kernels/common/tile_kernels.h"
#include "kernels/common/tile_operand.h"
#include "kernels/landmark_topk/landmark_topk.h"
#include "kernels/linear/linear_few_rows.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlock = kCoarseRun;  // landmarks of a block: the first-level cache holds their copy
constexpr int64_t kGroupRows = 16;      // queries that a block is scored for in turn
constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // no comparison with it is true

using Chosen = std::tuple<at::Tensor, at::Tensor>;

Chosen search_by_sort(const at::Tensor& query, at::TensorList landmarks, int64_t first_query, int64_t K,
                      double scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor all = at::cat(landmarks, 1).to(query.scalar_type());
  const at::Tensor r = at::matmul(query, all.transpose(1, 2)) * scale;
  const at::Tensor idx = landmark_topk(r, {}, first_query, K);
  const at::Tensor chosen = r.gather(-1, idx.clamp_min(0).to(at::kLong));
  return {idx, chosen.masked_fill(idx.lt(0).logical_or(chosen.isnan()), kNothing)};
}

/// The K best scores of a row, best first.
struct Best {
  float* r;
  int32_t* idx;
  int64_t K;
  int64_t count = 0;

  /// `chunk` comes after all taken before.
  void take(float score, int32_t chunk) {
    if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
    if (count == K && !(score > r[K - 1])) return;
    int64_t slot = count < K ? count++ : K - 1;
    for (; slot > 0 && score > r[slot - 1]; --slot) {
      r[slot] = r[slot - 1];
      idx[slot] = idx[slot - 1];
    }
    r[slot] = score;
    idx[slot] = chunk;
  }
};

/// Rows of float32 or bf16, dense each.
class Rows {
 public:
  explicit Rows(const LandmarkRows& rows)
      : first_(static_cast<const std::byte*>(rows.first)),
        step_(rows.step),
        is_float_(rows.type == at::kFloat) {}

  Rows from(int64_t row) const {
    Rows rows = *this;
    rows.first_ += row * step_ * (is_float_ ? sizeof(float) : sizeof(uint16_t));
    return rows;
  }
  /// scores[i] = <q, row i> in float32, for i < count.
  void score(int64_t count, int64_t d, const float* q, float* scores) const {
    const TileKernels& kernels = tile_kernels();
    if (is_float_)
      kernels.row_products(count, d, q, reinterpret_cast<const float*>(first_), step_, scores);
    else
      kernels.row_products_bf16(count, d, q, reinterpret_cast<const uint16_t*>(first_), step_, scores);
  }

 private:
  const std::byte* first_;
  int64_t step_;  // from row to row, in elements
  bool is_float_;
};

/// At most kBlock landmarks of a part.
struct Block {
  Rows landmarks;
  int64_t n;
  int64_t first;      // chunk of the first
  CoarseRuns coarse;  // one run, or none
  int64_t run;        // its number among the runs of all parts
};

/// All landmarks in blocks.
std::vector<Block> blocks_of(std::span<const LandmarkRows> parts) {
  std::vector<Block> blocks;
  int64_t first = 0, run = 0;
  for (const LandmarkRows& part : parts) {
    const Rows rows(part);
    const int64_t C = part.count;
    const int64_t coarse_end = part.coarse_begin + part.coarse.count * kCoarseRun;
    for (int64_t begin = 0, end = 0; begin < C; begin = end) {
      CoarseRuns coarse;
      end = std::min(begin + kBlock, C);
      if (begin < part.coarse_begin)
        end = std::min(end, part.coarse_begin);
      else if (begin < coarse_end)
        coarse = part.coarse.part((begin - part.coarse_begin) / kCoarseRun, 1);
      blocks.push_back({rows.from(begin), end - begin, first + begin, coarse, run});
      run += coarse.count;
    }
    first += C;
  }
  return blocks;
}

/// A landmark that may be among the best of a row.
struct Candidate {
  double most;  // that it may score
  const Block* block;
  int32_t chunk;
};

/// One query, and the candidates among the landmarks it has seen.
struct Row {
  const float* q;  // (d)
  int64_t K;
  CoarseQuery coarse;
  const float* centre_scores;      // <q, m> of all runs
  std::vector<double> least = {};  // the K greatest of what the landmarks score at least, falling
  double bar = kUnknown;           // the last of these, when there are K
  std::vector<Candidate> candidates = {};

  /// True where a score of at most `most` is none of the K best for sure; either may be unknown.
  bool rejects(double most) const { return most <= bar; }

  /// A landmark that is not rejected and scores from `at_least` to `most`, after all that were seen before.
  void see(double at_least, double most, const Block& block, int64_t chunk) {
    candidates.push_back({most, &block, static_cast<int32_t>(chunk)});
    if (std::isnan(at_least)) at_least = kNothing;
    if (at_least <= bar) return;
    if (static_cast<int64_t>(least.size()) == K) least.pop_back();
    least.insert(std::upper_bound(least.begin(), least.end(), at_least, std::greater<>()), at_least);
    if (static_cast<int64_t>(least.size()) == K) bar = least.back();
  }

  /// Scores in float32 what may reach `common_bar`.
  void score_candidates(int64_t d, double common_bar, Best& best) const {
    for (const Candidate& candidate : candidates) {
      if (candidate.most < common_bar) continue;
      float score = 0;
      candidate.block->landmarks.from(candidate.chunk - candidate.block->first).score(1, d, q, &score);
      best.take(score, candidate.chunk);
    }
  }
};

/// Shows a row the block's first `count` landmarks, by their scores in float32.
void see_scores(const Block& block, int64_t d, int64_t count, Row& row) {
  std::array<float, kBlock> scores;
  block.landmarks.score(count, d, row.q, scores.data());
  for (int64_t i = 0; i < count; ++i) {
    const double score = scores[static_cast<size_t>(i)];
    if (row.rejects(score)) continue;
    row.see(score, score, block, block.first + i);
  }
}

/// The same by their int8 copy.
void see_bounds(const Block& block, int64_t count, Row& row) {
  const ScoreBounds bounds(row.coarse, *block.coarse.bounds, row.centre_scores[block.run]);
  std::array<int32_t, kBlock> products;
  uint64_t above =
      int8_products().multiply(block.coarse.groups(), block.coarse.codes, row.coarse.codes.data(),
                               bounds.product_limit(row.bar), products.data());
  for (; above != 0; above &= above - 1) {
    const int64_t i = std::countr_zero(above);
    if (i >= count) return;
    const int32_t product = products[static_cast<size_t>(i)];
    if (row.rejects(bounds.most(product))) continue;
    row.see(bounds.least(product), bounds.most(product), block, block.first + i);
  }
}

/// <q, m> for queries (R, d) and the centres of all runs: (R, runs).
std::vector<float> score_centres(const float* queries, int64_t R, int64_t d,
                                 std::span<const LandmarkRows> parts) {
  constexpr int64_t kGrain = 64;  // runs: their centres stay in a cache for all queries
  int64_t runs = 0;
  for (const LandmarkRows& part : parts) runs += part.coarse.count;
  std::vector<float> scores(static_cast<size_t>(R * runs));
  int64_t before = 0;
  for (const LandmarkRows& part : parts) {
    at::parallel_for(0, part.coarse.count, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t run = begin; run < end; run += kGrain)
        for (int64_t t = 0; t < R; ++t)
          multiply_rows(std::min(kGrain, end - run), d, queries + t * d, part.coarse.centres + run * d,
                        scores.data() + t * runs + before + run);
    });
    before += part.coarse.count;
  }
  return scores;
}

/// queries (R, d); idx and r (R, K), which hold none yet.
void search(const float* queries, int64_t R, int64_t d, std::span<const LandmarkRows> parts,
            int64_t first_query, int64_t K, int32_t* idx, float* r) {
  std::fill_n(idx, R * K, -1);
  std::fill_n(r, R * K, static_cast<float>(kNothing));
  if (R == 0) return;
  const std::vector<Block> blocks = blocks_of(parts);
  const auto block_count = static_cast<int64_t>(blocks.size());
  const int64_t groups = (R + kGroupRows - 1) / kGroupRows;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t stretches = std::max<int64_t>(1, std::min(threads / groups, block_count));
  const std::vector<float> centre_scores = score_centres(queries, R, d, parts);
  const int64_t runs = static_cast<int64_t>(centre_scores.size()) / R;
  std::vector<Row> rows;  // (stretches, R)
  for (int64_t i = 0; i < stretches * R; ++i) {
    const int64_t t = i % R;
    rows.push_back({queries + t * d, K, CoarseQuery(queries + t * d, d), centre_scores.data() + t * runs});
  }

  at::parallel_for(0, stretches * groups, 1, [&](int64_t first_work, int64_t end_work) {
    for (int64_t work = first_work; work < end_work; ++work) {
      const int64_t stretch = work / groups, first_row = work % groups * kGroupRows;
      for (int64_t number = stretch * block_count / stretches;
           number < (stretch + 1) * block_count / stretches; ++number) {
        const Block& block = blocks[static_cast<size_t>(number)];
        for (int64_t t = first_row; t < std::min(first_row + kGroupRows, R); ++t) {
          const int64_t count = std::clamp<int64_t>(first_query + t - block.first, 0, block.n);
          Row& row = rows[static_cast<size_t>(stretch * R + t)];
          if (count == 0) continue;
          if (block.coarse.count > 0)
            see_bounds(block, count, row);
          else
            see_scores(block, d, count, row);
        }
      }
    }
  });
  at::parallel_for(0, R, kGroupRows, [&](int64_t first_row, int64_t end_row) {
    for (int64_t t = first_row; t < end_row; ++t) {
      double bar = kNothing;
      for (int64_t stretch = 0; stretch < stretches; ++stretch)
        bar = std::max(bar, rows[static_cast<size_t>(stretch * R + t)].bar);  // the first, if one is unknown
      Best best{r + t * K, idx + t * K, K};
      for (int64_t stretch = 0; stretch < stretches; ++stretch)
        rows[static_cast<size_t>(stretch * R + t)].score_candidates(d, bar, best);
    }
  });
}

LandmarkChoice search_fast(const at::Tensor& query, std::span<const LandmarkPart> landmarks,
                           int64_t first_query, int64_t K, double scale) {
  const NamedWork work("gca::landmark_search");
  const at::NoGradGuard no_grad;
  const int64_t B = query.size(0), R = query.size(1);
  const at::Tensor scaled = (query * scale).contiguous();
  const int64_t d = query.size(2);
  const LandmarkChoice choice = {at::empty({B, R, K}, at::kInt), at::empty({B, R, K}, query.options())};
  for (int64_t b = 0; b < B; ++b) {
    std::vector<at::Tensor> tensors;  // hold what `parts` points to
    std::vector<LandmarkRows> parts;
    for (const LandmarkPart& part : landmarks) {
      const at::Tensor& rows = tensors.emplace_back(with_dense_rows(part.rows.select(0, b)));
      parts.push_back({rows.const_data_ptr(), rows.scalar_type(), rows.size(0), rows.stride(0), part.coarse,
                       part.coarse_begin});
    }
    search(scaled.const_data_ptr<float>() + b * R * d, R, d, parts, first_query, K,
           choice.idx.mutable_data_ptr<int32_t>() + b * R * K,
           choice.r.mutable_data_ptr<float>() + b * R * K);
  }
  return choice;
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "landmark_search(Tensor query, Tensor[] landmarks, int first_query, int K, float scale) -> "
      "(Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("landmark_search", search_by_sort);
}

}  // namespace

std::vector<at::Tensor> rows_of(std::span<const LandmarkPart> parts) {
  std::vector<at::Tensor> rows;
  rows.reserve(parts.size());
  for (const LandmarkPart& part : parts) rows.push_back(part.rows);
  return rows;
}

LandmarkChoice landmark_search(const at::Tensor& query, std::span<const LandmarkPart> landmarks,
                               int64_t first_query, int64_t K, double scale) {
  TORCH_CHECK(query.dim() == 3 && K > 0, "landmark_search: query is ", query.sizes(), ", K is ", K);
  for (const LandmarkPart& part : landmarks) {
    const at::Tensor& rows = part.rows;
    TORCH_CHECK(rows.dim() == 3 && rows.size(0) == query.size(0) && rows.size(2) == query.size(2) &&
                    (rows.scalar_type() == query.scalar_type() ||
                     (rows.scalar_type() == at::kBFloat16 && query.scalar_type() == at::kFloat)),
                "landmark_search: landmarks are ", rows.sizes(), " for queries of ", query.sizes());
    TORCH_CHECK(part.coarse.count == 0 ||
                    (rows.size(0) == 1 && part.coarse.d == rows.size(2) && part.coarse_begin >= 0 &&
                     part.coarse_begin + part.coarse.count * kCoarseRun <= rows.size(1)),
                "landmark_search: ", part.coarse.count, " coarse runs from ", part.coarse_begin,
                " on for landmarks ", rows.sizes());
  }
  if (query.device().is_cpu() && query.scalar_type() == at::kFloat &&
      implementation() != Implementation::reference)
    return search_fast(query.detach(), landmarks, first_query, K, scale);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::landmark_search", "")
                             .typed<Chosen(const at::Tensor&, at::TensorList, int64_t, int64_t, double)>();
  auto [idx, r] = op.call(query.detach(), rows_of(landmarks), first_query, K, scale);
  return {idx, r};
}

void landmark_search_row(const float* query, int64_t d, std::span<const LandmarkRows> landmarks, int64_t K,
                         int32_t* idx, float* r) {
  int64_t count = 0;
  for (const LandmarkRows& part : landmarks) count += part.count;
  search(query, 1, d, landmarks, count, K, idx, r);
}

}  // namespace gca::kernels
