#include "lib/model/layers/attention_block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "lib/model/layers/wide_type.h"

namespace gca::model {
namespace {

/// Queries whose scores are in memory at a time.
constexpr int64_t kTileRows = 128;

/// (B, n, H, dh) -> (B, H_kv, g n, dh), the query heads of a key/value head one after the other.
at::Tensor by_kv_head(const at::Tensor& x, int64_t kv_heads) {
  const int64_t B = x.size(0), n = x.size(1), H = x.size(2), dh = x.size(3);
  return x.to(wide_type(x))
      .view({B, n, kv_heads, H / kv_heads, dh})
      .permute({0, 2, 3, 1, 4})
      .reshape({B, kv_heads, H / kv_heads * n, dh});
}

/// The way back: (B, H_kv, g n, e) -> (B, n, H, e).
at::Tensor by_position(const at::Tensor& x, int64_t n) {
  const int64_t B = x.size(0), kv_heads = x.size(1), g = x.size(2) / n, e = x.size(3);
  return x.view({B, kv_heads, g, n, e}).permute({0, 3, 1, 2, 4}).reshape({B, n, kv_heads * g, e});
}

/// (B, m, H_kv, dh) -> (B, H_kv, m, dh).
at::Tensor rows_of_heads(const at::Tensor& x) {
  return x.to(wide_type(x)).transpose(1, 2).contiguous();
}

/// Scores (B, H_kv, g n, m) of queries first .. first + n of a block; minus infinity where one is not seen.
at::Tensor scores_of(const at::Tensor& q, const at::Tensor& k, double scale, bool causal, int64_t first,
                     int64_t n) {
  at::Tensor scores = at::matmul(q, k.transpose(-1, -2)).mul_(scale);
  if (!causal) return scores;
  const at::Tensor query = at::arange(first, first + n, at::kLong).unsqueeze(1);
  const at::Tensor hidden = at::arange(k.size(2), at::kLong).unsqueeze(0).gt(query);  // (n, m)
  const int64_t g = scores.size(2) / n;
  scores.view({scores.size(0), scores.size(1), g, n, k.size(2)})
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return scores;
}

/// Keys that a tile of queries can see: all, or those up to its last query.
int64_t seen_keys(int64_t keys, bool causal, int64_t first, int64_t n) {
  return causal ? std::min(keys, first + n) : keys;
}

}  // namespace

at::Tensor AttentionBlock::attention() const {
  return sum_of_values.div(statistics.sum.unsqueeze(-1));
}

AttentionBlock attend_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                            bool causal) {
  const at::Tensor keys = rows_of_heads(k);
  const at::Tensor values = rows_of_heads(v);
  std::vector<at::Tensor> sums_of_values, maxima, sums;
  for (int64_t first = 0; first < q.size(1); first += kTileRows) {
    const int64_t n = std::min(kTileRows, q.size(1) - first);
    const int64_t seen = seen_keys(k.size(1), causal, first, n);
    at::Tensor scores = scores_of(by_kv_head(q.narrow(1, first, n), k.size(2)), keys.narrow(2, 0, seen),
                                  scale, causal, first, n);
    const at::Tensor largest = scores.amax(-1, /*keepdim=*/true);
    const at::Tensor weights = scores.sub_(largest).exp_();
    sums_of_values.push_back(by_position(at::matmul(weights, values.narrow(2, 0, seen)), n));
    maxima.push_back(by_position(largest, n).squeeze(-1));
    sums.push_back(by_position(weights.sum(-1, /*keepdim=*/true), n).squeeze(-1));
  }
  return {at::cat(sums_of_values, 1), {at::cat(maxima, 1), at::cat(sums, 1)}};
}

void merge_block(AttentionBlock& all, const AttentionBlock& block) {
  const at::Tensor largest = at::maximum(all.statistics.largest, block.statistics.largest);
  const at::Tensor factor = all.statistics.largest.sub(largest).exp_();
  const at::Tensor factor_of_block = block.statistics.largest.sub(largest).exp_();
  all.sum_of_values.mul_(factor.unsqueeze(-1)).add_(block.sum_of_values.mul(factor_of_block.unsqueeze(-1)));
  all.statistics.sum.mul_(factor).add_(block.statistics.sum.mul(factor_of_block));
  all.statistics.largest.copy_(largest);
}

BlockGradients block_gradients(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const AttentionStatistics& statistics,
                               const at::Tensor& delta, double scale, bool causal) {
  const int64_t kv_heads = k.size(2);
  const at::Tensor keys = rows_of_heads(k);
  const at::Tensor values = rows_of_heads(v);
  const at::Tensor dk = at::zeros_like(keys);
  const at::Tensor dv = at::zeros_like(values);
  std::vector<at::Tensor> dqs;
  for (int64_t first = 0; first < q.size(1); first += kTileRows) {
    const int64_t n = std::min(kTileRows, q.size(1) - first);
    const int64_t seen = seen_keys(k.size(1), causal, first, n);
    const auto tile = [&](const at::Tensor& x) { return by_kv_head(x.narrow(1, first, n), kv_heads); };
    const at::Tensor queries = tile(q);
    const at::Tensor douts = tile(dout);
    const at::Tensor seen_rows = keys.narrow(2, 0, seen);
    const at::Tensor probability = scores_of(queries, seen_rows, scale, causal, first, n)
                                       .sub_(tile(statistics.largest.unsqueeze(-1)))
                                       .exp_()
                                       .div_(tile(statistics.sum.unsqueeze(-1)));
    dv.narrow(2, 0, seen).add_(at::matmul(probability.transpose(-1, -2), douts));
    const at::Tensor dscores = at::matmul(douts, values.narrow(2, 0, seen).transpose(-1, -2))
                                   .sub_(tile(delta.unsqueeze(-1)))
                                   .mul_(probability)
                                   .mul_(scale);
    dk.narrow(2, 0, seen).add_(at::matmul(dscores.transpose(-1, -2), queries));
    dqs.push_back(by_position(at::matmul(dscores, seen_rows), n));
  }
  return {at::cat(dqs, 1), dk.transpose(1, 2).contiguous(), dv.transpose(1, 2).contiguous()};
}

}  // namespace gca::model
