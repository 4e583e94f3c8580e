#include "lib/model/backbones/fot/memory_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "kernels/sliding_window_attention/sliding_window_attention.h"
#include "kernels/top_k/top_k.h"

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

/// Queries of one local context, whose memory is the first `memory` keys; the rest is the context so far.
at::Tensor read_best(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& slopes,
                     int64_t memory, int64_t top_k, double scale) {
  const int64_t local = k.size(1) - memory;
  const auto [own, own_lse] = kernels::sliding_window_attention_forward(
      q, k.narrow(1, memory, local), v.narrow(1, memory, local), slopes, local, scale);
  const at::ScalarType wide = slopes.scalar_type();
  const at::Tensor keys = k.narrow(1, 0, memory).to(wide).permute({0, 2, 3, 1});  // (B, H, dh, P)
  const at::Tensor values = v.narrow(1, 0, memory);
  const int64_t m = q.size(1);
  const int64_t at_once = std::max<int64_t>(1, kScoresAtOnce / (q.size(0) * q.size(2) * memory));
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < m; begin += at_once) {
    const int64_t count = std::min(at_once, m - begin);
    const at::Tensor queries = q.narrow(1, begin, count).to(wide).transpose(1, 2);  // (B, H, count, dh)
    const at::Tensor scores = at::matmul(queries, keys).mul_(scale);
    const at::Tensor best = kernels::top_k(scores, top_k);
    const at::Tensor chosen = scores.gather(-1, best);  // (B, H, count, K)
    const at::Tensor local_lse = own_lse.narrow(2, begin, count);
    const at::Tensor lse = at::logaddexp(local_lse, at::logsumexp(chosen, -1));
    const at::Tensor share = at::exp(local_lse - lse).transpose(1, 2).unsqueeze(-1);  // (B, count, H, 1)
    const at::Tensor read = weighted_rows(values, best, at::exp(chosen - lse.unsqueeze(-1)));
    parts.push_back((own.narrow(1, begin, count).to(wide) * share + read).to(q.scalar_type()));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

}  // namespace

at::Tensor memory_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t local_context, int64_t top_k, double scale) {
  const int64_t n = local_context;
  const int64_t end = k.size(1);
  const int64_t begin = end - q.size(1);
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor slopes = at::zeros({q.size(2)}, q.options().dtype(wide));
  // Up to here the memory has no more than top_k keys.
  const int64_t dense_end = top_k == 0 ? end : std::min(end, (top_k / n + 1) * n);
  std::vector<at::Tensor> parts;
  if (begin < dense_end)
    parts.push_back(kernels::sliding_window_attention(q.narrow(1, 0, dense_end - begin),
                                                      k.narrow(1, 0, dense_end), v.narrow(1, 0, dense_end),
                                                      slopes, dense_end, scale));
  for (int64_t first = std::max(begin, dense_end); first < end;) {
    const int64_t memory = first / n * n;
    const int64_t last = std::min(end, memory + n);
    parts.push_back(read_best(q.narrow(1, first - begin, last - first), k.narrow(1, 0, last),
                              v.narrow(1, 0, last), slopes, memory, top_k, scale));
    first = last;
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

}  // namespace gca::model
