//   many queries  blocks of kBlock landmarks: a matrix product, then one pass over the scores
//   few queries   bound by reading the landmarks: each thread takes a stretch of them, in the same blocks,
//   and
//                 the choices of the stretches are joined in order
//   reference     all scores at once, then a stable sort

#include "kernels/landmark_topk/landmark_search.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "kernels/common/implementation.h"
#include "kernels/common/thread_workspace.h"
#include "kernels/landmark_topk/landmark_topk.h"
#include "kernels/linear/linear_few_rows.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlock = 1024;  // landmarks scored at a time

using Chosen = std::tuple<at::Tensor, at::Tensor>;

Chosen search_by_sort(const at::Tensor& query, at::TensorList landmarks, int64_t first_query, int64_t K,
                      double scale) {
  const double nothing = -std::numeric_limits<double>::infinity();
  const at::Tensor r = at::matmul(query, at::cat(landmarks, 1).transpose(1, 2)) * scale;
  const at::Tensor idx = landmark_topk(r, {}, first_query, K);
  const at::Tensor chosen = r.gather(-1, idx.clamp_min(0).to(at::kLong));
  return {idx, chosen.masked_fill(idx.lt(0).logical_or(chosen.isnan()), nothing)};
}

/// The K best scores of a row so far, best first.
template <class Scalar>
struct BestSoFar {
  Scalar* r;
  int32_t* idx;
  int64_t K;
  int64_t count = 0;

  /// Takes scores[0, n) of chunks first, first + 1, ..., which come after all taken before.
  void take(const Scalar* scores, int64_t n, int64_t first) {
    constexpr int64_t kRun = 64;
    for (int64_t begin = 0; begin < n; begin += kRun) {
      const int64_t end = std::min(begin + kRun, n);
      if (count == K && !any_above(scores + begin, end - begin, r[K - 1])) continue;
      for (int64_t c = begin; c < end; ++c) insert(scores[c], static_cast<int32_t>(first + c));
    }
  }

  /// Takes the best of chunks that come after all taken before.
  void take(const BestSoFar& later) {
    for (int64_t slot = 0; slot < later.count; ++slot) insert(later.r[slot], later.idx[slot]);
  }

 private:
  static bool any_above(const Scalar* scores, int64_t n, Scalar least) {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t i = 0; i < n; ++i) any |= scores[i] > least ? 1 : 0;
    return any != 0;
  }

  void insert(Scalar score, int32_t chunk) {
    if (std::isnan(score)) score = -std::numeric_limits<Scalar>::infinity();
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

/// query (R, d), parts (C_i, d); idx and r (R, K).
template <class Scalar>
void search_blocks(const at::Tensor& query, const std::vector<at::Tensor>& parts, int64_t first_query,
                   int64_t K, int32_t* idx, Scalar* r) {
  const int64_t R = query.size(0);
  std::vector<BestSoFar<Scalar>> rows;
  for (int64_t row = 0; row < R; ++row) rows.push_back({r + row * K, idx + row * K, K});
  const at::Tensor scratch = at::empty({R * kBlock}, query.options());
  int64_t first = 0;  // chunk that the block begins with
  for (const at::Tensor& part : parts) {
    for (int64_t begin = 0; begin < part.size(0); begin += kBlock) {
      const int64_t n = std::min(kBlock, part.size(0) - begin);
      if (first >= first_query + R - 1) return;  // no row has a candidate here or later
      at::Tensor scores = scratch.narrow(0, 0, R * n).view({R, n});
      at::mm_out(scores, query, part.narrow(0, begin, n).t());
      const auto* data = scores.template const_data_ptr<Scalar>();
      at::parallel_for(0, R, 16, [&](int64_t row_begin, int64_t row_end) {
        for (int64_t row = row_begin; row < row_end; ++row) {
          const int64_t candidates = std::clamp<int64_t>(first_query + row - first, 0, n);
          rows[static_cast<size_t>(row)].take(data + row * n, candidates, first);
        }
      });
      first += n;
    }
  }
}

struct ScoreMemory;

/// The same for at most kFewRows queries.
void search_stretches(const at::Tensor& query, const std::vector<at::Tensor>& parts, int64_t first_query,
                      int64_t K, int32_t* idx, float* r) {
  struct Block {
    const float* landmarks;
    int64_t n, first;
  };
  const int64_t R = query.size(0), d = query.size(1);
  std::vector<Block> blocks;
  int64_t first = 0;
  for (const at::Tensor& part : parts) {
    for (int64_t begin = 0; begin < part.size(0); begin += kBlock) {
      const int64_t n = std::min(kBlock, part.size(0) - begin);
      blocks.push_back({part.const_data_ptr<float>() + begin * d, n, first});
      first += n;
    }
  }

  const auto block_count = static_cast<int64_t>(blocks.size());
  const int64_t stretches = std::min<int64_t>(at::get_num_threads(), block_count);
  std::vector<float> stretch_r(static_cast<size_t>(stretches * R * K));
  std::vector<int32_t> stretch_idx(stretch_r.size());
  std::vector<BestSoFar<float>> best;
  for (int64_t i = 0; i < stretches * R; ++i)
    best.push_back({stretch_r.data() + i * K, stretch_idx.data() + i * K, K});
  const auto* queries = query.const_data_ptr<float>();
  at::parallel_for(0, stretches, 1, [&](int64_t first_stretch, int64_t end_stretch) {
    float* scores = ThreadWorkspace<float, ScoreMemory>::get(kBlock);
    for (int64_t stretch = first_stretch; stretch < end_stretch; ++stretch) {
      const int64_t end = (stretch + 1) * block_count / stretches;
      for (int64_t number = stretch * block_count / stretches; number < end; ++number) {
        const Block& block = blocks[static_cast<size_t>(number)];
        for (int64_t row = 0; row < R; ++row) {
          const int64_t candidates = std::clamp<int64_t>(first_query + row - block.first, 0, block.n);
          multiply_rows(candidates, d, queries + row * d, block.landmarks, scores);
          best[static_cast<size_t>(stretch * R + row)].take(scores, candidates, block.first);
        }
      }
    }
  });
  for (int64_t row = 0; row < R; ++row) {
    BestSoFar<float> total{r + row * K, idx + row * K, K};
    for (int64_t stretch = 0; stretch < stretches; ++stretch)
      total.take(best[static_cast<size_t>(stretch * R + row)]);
  }
}

void search(const at::Tensor& query, const std::vector<at::Tensor>& parts, int64_t first_query, int64_t K,
            int32_t* idx, float* r) {
  const bool dense =
      std::all_of(parts.begin(), parts.end(), [](const at::Tensor& part) { return part.is_contiguous(); });
  if (query.size(0) <= kFewRows && dense) {
    search_stretches(query, parts, first_query, K, idx, r);
  } else {
    search_blocks(query, parts, first_query, K, idx, r);
  }
}

void search(const at::Tensor& query, const std::vector<at::Tensor>& parts, int64_t first_query, int64_t K,
            int32_t* idx, double* r) {
  search_blocks(query, parts, first_query, K, idx, r);
}

Chosen landmark_search_cpu(const at::Tensor& query, at::TensorList landmarks, int64_t first_query, int64_t K,
                           double scale) {
  const at::NoGradGuard no_grad;
  if (implementation() == Implementation::reference)
    return search_by_sort(query, landmarks, first_query, K, scale);
  const int64_t B = query.size(0);
  const int64_t R = query.size(1);
  const at::Tensor scaled = (query * scale).contiguous();
  at::Tensor idx = at::full({B, R, K}, -1, at::kInt);
  at::Tensor r = at::full({B, R, K}, -std::numeric_limits<double>::infinity(), query.options());
  AT_DISPATCH_FLOATING_TYPES(query.scalar_type(), "landmark_search", [&] {
    for (int64_t row = 0; row < B; ++row) {
      std::vector<at::Tensor> parts;
      for (const at::Tensor& part : landmarks) parts.push_back(part.select(0, row));
      search(scaled.select(0, row), parts, first_query, K, idx.mutable_data_ptr<int32_t>() + row * R * K,
             r.mutable_data_ptr<scalar_t>() + row * R * K);
    }
  });
  return {idx, r};
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "landmark_search(Tensor query, Tensor[] landmarks, int first_query, int K, float scale) -> "
      "(Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(gca, CPU, m) {
  m.impl("landmark_search", landmark_search_cpu);
}

}  // namespace

LandmarkChoice landmark_search(const at::Tensor& query, std::span<const at::Tensor> landmarks,
                               int64_t first_query, int64_t K, double scale) {
  TORCH_CHECK(query.dim() == 3 && K > 0, "landmark_search: query is ", query.sizes(), ", K is ", K);
  for (const at::Tensor& part : landmarks)
    TORCH_CHECK(part.dim() == 3 && part.size(0) == query.size(0) && part.size(2) == query.size(2) &&
                    part.scalar_type() == query.scalar_type(),
                "landmark_search: landmarks are ", part.sizes(), " for queries of ", query.sizes());
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::landmark_search", "")
                             .typed<Chosen(const at::Tensor&, at::TensorList, int64_t, int64_t, double)>();
  auto [idx, r] =
      op.call(query.detach(), at::TensorList(landmarks.data(), landmarks.size()), first_query, K, scale);
  return {idx, r};
}

}  // namespace gca::kernels
