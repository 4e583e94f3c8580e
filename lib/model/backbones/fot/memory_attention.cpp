#include "lib/model/backbones/fot/memory_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/indexed_attention/indexed_attention.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "kernels/top_k/top_k.h"
#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

// Scores of so many pairs are held at once, 64 MiB in float32.
constexpr int64_t kScoresAtOnce = int64_t{1} << 24;

/// sum_k p[.., k] values[idx[.., k]]: values (B, P, H, dh), idx and p (B, H, m, K) -> (B, m, H, dh), p's
/// type.
at::Tensor weighted_rows(const at::Tensor& values, const at::Tensor& idx, const at::Tensor& p) {
  const int64_t B = values.size(0);
  const int64_t H = values.size(2);
  const int64_t m = idx.size(2);
  at::Tensor sums = at::empty({B, m, H, values.size(3)}, p.options());
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      const at::Tensor rows = values.select(0, b)
                                  .select(1, h)
                                  .index_select(0, idx.select(0, b).select(0, h).flatten())
                                  .to(p.scalar_type())
                                  .view({m, -1, values.size(3)});           // (m, K, dh)
      const at::Tensor weights = p.select(0, b).select(0, h).unsqueeze(1);  // (m, 1, K)
      sums.select(0, b).select(1, h).copy_(at::matmul(weights, rows).squeeze(1));
    }
  return sums;
}

/// Keys `first` to `last` of k (B, P, H, dh), widened: (B, H, dh, last - first).
at::Tensor keys_across(const at::Tensor& k, int64_t first, int64_t last, at::ScalarType wide) {
  return k.narrow(1, first, last - first).to(wide).permute({0, 2, 3, 1});
}

/// Queries that share a memory, so many of them at once that their scores fit: body(first, count).
void in_parts(const at::Tensor& q, int64_t memory, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t m = q.size(1);
  const int64_t at_once = std::max<int64_t>(1, kScoresAtOnce / (q.size(0) * q.size(2) * memory));
  for (int64_t begin = 0; begin < m; begin += at_once) body(begin, std::min(at_once, m - begin));
}

/// Positions first to end by local contexts: body(first, last, memory), where first to last are of the
/// context that begins at `memory`.
void by_local_context(int64_t first, int64_t end, int64_t local_context,
                      const std::function<void(int64_t, int64_t, int64_t)>& body) {
  while (first < end) {
    const int64_t memory = first / local_context * local_context;
    const int64_t last = std::min(end, memory + local_context);
    body(first, last, memory);
    first = last;
  }
}

/// Keys and values of all positions, and where to find the best of the memory.
struct Memory {
  const at::Tensor &k, &v;
  const at::Tensor& slopes;
  const KeyIndex& index;
  int64_t top_k;
  double scale;
};

/// One query after the other, by what the index leaves to score.
BestKeys search_best(const at::Tensor& q, const Memory& all, int64_t memory) {
  const at::Tensor queries = q.to(all.slopes.scalar_type()).transpose(1, 2);  // (B, H, m, dh)
  const auto parts = [&](int64_t b, int64_t h) { return all.index.parts(all.k, b, h, memory); };
  return search_keys(queries, parts, memory, all.top_k, all.scale);
}

/// All at once, by a product that scores everything.
BestKeys score_all(const at::Tensor& q, const Memory& all, int64_t memory) {
  const at::ScalarType wide = all.slopes.scalar_type();
  const at::Tensor keys = keys_across(all.k, 0, memory, wide);
  std::vector<at::Tensor> places;
  std::vector<at::Tensor> chosen;
  in_parts(q, memory, [&](int64_t begin, int64_t count) {
    const at::Tensor queries = q.narrow(1, begin, count).to(wide).transpose(1, 2);  // (B, H, count, dh)
    const at::Tensor scores = at::matmul(queries, keys).mul_(all.scale);
    places.push_back(kernels::top_k(scores, all.top_k));
    chosen.push_back(scores.gather(-1, places.back()));
  });
  return {at::cat(places, 2), at::cat(chosen, 2)};
}

/// The top_k best of the first `memory` keys.
BestKeys best_keys(const at::Tensor& q, const Memory& all, int64_t memory) {
  return q.size(1) <= KeyIndex::kMostQueries ? search_best(q, all, memory) : score_all(q, all, memory);
}

/// Queries (B, m, H, dh) of one local context, whose memory is the first `memory` keys; the last of them is that of key
/// `end` - 1.
MemoryReading read_best(const at::Tensor& q, const Memory& all, int64_t memory, int64_t end) {
  const int64_t local = end - memory;
  const auto [own, own_lse] = kernels::sliding_window_attention_forward(
      q, all.k.narrow(1, memory, local), all.v.narrow(1, memory, local), all.slopes, local, all.scale);
  const BestKeys best = best_keys(q, all, memory);
  const at::Tensor lse = at::logaddexp(own_lse, at::logsumexp(best.scores, -1));
  const at::Tensor share = at::exp(own_lse - lse).transpose(1, 2).unsqueeze(-1);  // (B, m, H, 1)
  const at::Tensor read =
      weighted_rows(all.v.narrow(1, 0, memory), best.places, at::exp(best.scores - lse.unsqueeze(-1)));
  return {(own.to(read.scalar_type()) * share + read).to(q.scalar_type()), lse};
}

/// One query: all of it where the rows lie.
MemoryReading read_best_of_one(const at::Tensor& q, const Memory& all, int64_t memory, int64_t end) {
  const BestKeys best = best_keys(q, all, memory);
  std::vector<at::Tensor> outs;
  std::vector<at::Tensor> lses;
  for (int64_t b = 0; b < q.size(0); ++b) {
    const kernels::IndexedRows rows = {best.places.select(0, b).squeeze(1).to(at::kInt), memory};
    const kernels::IndexedAttention read =
        kernels::indexed_attention(q.select(0, b),
                                   {.keys = all.k.select(0, b).narrow(0, 0, end),
                                    .values = all.v.select(0, b).narrow(0, 0, end),
                                    .key_scales = {},
                                    .value_scales = {}},
                                   rows, all.slopes, all.scale);
    outs.push_back(read.out);
    lses.push_back(read.lse.t());
  }
  return {at::stack(outs), at::stack(lses)};
}

}  // namespace

MemoryReading memory_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const MemoryRange& range, double scale, const KeyIndex& index) {
  const int64_t n = range.local_context;
  const int64_t end = k.size(1);
  const int64_t begin = end - q.size(1);
  const at::Tensor slopes = at::zeros({q.size(2)}, q.options().dtype(wide_type(q)));
  // Up to here one softmax goes over all positions: the memory has no more than top_k keys.
  int64_t dense_end = range.top_k == 0 ? end : std::min(end, (range.top_k / n + 1) * n);
  if (!range.reads_memory) dense_end = std::min(end, n);
  const Memory all{k, v, slopes, index, range.top_k, scale};
  std::vector<at::Tensor> outs;
  std::vector<at::Tensor> lses;
  const auto add = [&](const at::Tensor& out, const at::Tensor& lse) {
    outs.push_back(out);
    lses.push_back(lse);
  };
  const auto add_dense = [&](int64_t first, int64_t last, int64_t from) {
    const auto [out, lse] = kernels::sliding_window_attention_forward(
        q.narrow(1, first - begin, last - first), k.narrow(1, from, last - from),
        v.narrow(1, from, last - from), slopes, last - from, scale);
    add(out, lse);
  };
  if (begin < dense_end) add_dense(begin, dense_end, 0);
  by_local_context(std::max(begin, dense_end), end, n, [&](int64_t first, int64_t last, int64_t memory) {
    if (!range.reads_memory) return add_dense(first, last, memory);
    const auto read = last - first == 1 ? read_best_of_one : read_best;
    const MemoryReading reading = read(q.narrow(1, first - begin, last - first), all, memory, last);
    add(reading.out, reading.lse);
  });
  if (outs.size() == 1) return {outs.front(), lses.front()};
  return {at::cat(outs, 1), at::cat(lses, 2)};
}

MemoryChoice memory_choice(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                           const MemoryRange& range, double scale) {
  const at::ScalarType wide = wide_type(q);
  const int64_t K = range.top_k > 0 ? range.top_k : kMostTold;
  const int64_t begin = k.size(1) - q.size(1);
  const std::vector<int64_t> slots = {q.size(0), q.size(1), q.size(2), K};
  MemoryChoice choice{at::full(slots, -1, at::TensorOptions(at::kInt)),
                      at::zeros(slots, at::TensorOptions(wide))};
  by_local_context(begin, k.size(1), range.local_context, [&](int64_t first, int64_t last, int64_t memory) {
    if (memory == 0 || !range.reads_memory) return;
    const at::Tensor keys = keys_across(k, 0, memory, wide);
    const int64_t told = std::min(K, memory);
    const at::Tensor own = q.narrow(1, first - begin, last - first);
    in_parts(own, memory, [&](int64_t part, int64_t count) {
      const at::Tensor queries = own.narrow(1, part, count).to(wide).transpose(1, 2);
      const at::Tensor scores = at::matmul(queries, keys).mul_(scale);
      const at::Tensor best = kernels::top_k(scores, told);  // (B, H, count, told)
      const int64_t row = first - begin + part;
      const at::Tensor shares = at::exp(scores.gather(-1, best) - lse.narrow(2, row, count).unsqueeze(-1));
      choice.positions.narrow(1, row, count).narrow(3, 0, told).copy_(best.transpose(1, 2));
      choice.shares.narrow(1, row, count).narrow(3, 0, told).copy_(shares.transpose(1, 2));
    });
  });
  return choice;
}

}  // namespace gca::model
