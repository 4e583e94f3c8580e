#include "lib/model/kv_cache/recycled_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/common/task_queue.h"
#include "lib/model/kv_cache/best_rows.h"

namespace gca::model {
namespace {

/// The largest of `width` neighbours of each, itself in their middle.
std::vector<float> pooled(const float* score, int64_t count, int64_t width) {
  std::vector<float> result(score, score + count);
  for (int64_t shift = 1; shift <= std::min(width / 2, count - 1); ++shift)
    for (int64_t j = 0; j + shift < count; ++j) {
      float &here = result[static_cast<size_t>(j)], &there = result[static_cast<size_t>(j + shift)];
      here = std::max(here, score[j + shift]);
      there = std::max(there, score[j]);
    }
  return result;
}

/// Lists (H_kv, m) int32 with `row` at their ends, dropped from their fronts down to `most` rows.
at::Tensor with_row(const at::Tensor& lists, int64_t row, int64_t most) {
  const int64_t heads = lists.size(0), before = lists.size(1), after = std::min(most, before + 1);
  at::Tensor longer = at::empty({heads, after}, at::kInt);
  for (int64_t h = 0; h < heads; ++h) {
    const auto* end = lists.const_data_ptr<int32_t>() + (h + 1) * before;
    auto* to = longer.mutable_data_ptr<int32_t>() + h * after;
    *std::copy(end - (after - 1), end, to) = static_cast<int32_t>(row);
  }
  return longer;
}

at::Tensor pair_of(int64_t first, int64_t second) {
  return at::tensor(std::vector<int32_t>{static_cast<int32_t>(first), static_cast<int32_t>(second)},
                    at::kInt);
}

}  // namespace

RecycledCache::RecycledCache(AttentionSettings settings, const KvPolicy& policy)
    : FullCache(std::move(settings)),
      most_rows_(policy.recycled_rows),
      stride_(policy.stride),
      pool_(policy.pool),
      similarity_(policy.similarity),
      layers_(static_cast<size_t>(this->settings().layers)) {}

void RecycledCache::begin_part(TextPart part) {
  answering_ = part == TextPart::answer;
  if (!answering_ || rows(0).count() == 0) return;
  if (most_rows_ == 0) most_rows_ = std::max<int64_t>(1, rows(0).count() / 8);
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    refill(i, read_some(i, layer.last_query, {}, /*with_column_sums=*/true).column_sums);
    layer.full_query = layer.mean_query;
    layer.steps = layer.full_steps = 0;
  }
}

void RecycledCache::refill(size_t number, const at::Tensor& probabilities) {
  const int64_t kv_heads = settings().kv_heads, count = probabilities.size(1);
  const at::Tensor score = at::amax(probabilities.view({kv_heads, -1, count}), 1).to(at::kFloat).contiguous();
  const int64_t kept = std::min(most_rows_, count);
  at::Tensor list = at::empty({kv_heads, kept}, at::kInt);
  kernels::run_tasks(kv_heads, [&](kernels::TaskQueue& queue) {
    for (int64_t h; queue.take(h);) {
      const std::vector<float> wanted = pooled(score.const_data_ptr<float>() + h * count, count, pool_);
      const std::vector<int64_t> best = best_rows(wanted.data(), count, kept);
      std::transform(best.rbegin(), best.rend(), list.mutable_data_ptr<int32_t>() + h * kept,
                     [](int64_t row) { return static_cast<int32_t>(row); });
    }
  });
  layers_[number].list = list;
}

bool RecycledCache::reads_all(const Layer& layer) const {
  if (layer.steps % stride_ != 0) return false;
  if (similarity_ >= 1) return true;
  const at::Tensor a = layer.mean_query.to(at::kDouble), b = layer.full_query.to(at::kDouble);
  const double lengths = std::sqrt((a * a).sum().item<double>() * (b * b).sum().item<double>());
  return (a * b).sum().item<double>() <= similarity_ * lengths;
}

at::Tensor RecycledCache::attend(size_t number, const at::Tensor& q, const at::Tensor& k,
                                 const at::Tensor& v) {
  Layer& layer = layers_[number];
  const int64_t n = q.size(1);
  layer.mean_query = q[0][n - 1].to(at::kFloat).mean(0);
  const Appended appended = append(number, q, k, v);
  const at::Tensor& rotated = appended.q;
  layer.last_query = n == 1 ? rotated : rotated.narrow(1, n - 1, 1).clone();
  if (!answering_) return read_all(number, appended);

  TORCH_CHECK(n == 1, "tokens of an answer come one by one");
  const int64_t count = rows(number).count();
  ++layer.steps;
  layer.was_full = reads_all(layer);
  if (layer.was_full) {
    ++layer.full_steps;
    count_reads(number, rotated, static_cast<double>(settings().kv_heads * count));
    const kernels::IndexedAttention all = read_some(number, rotated, {}, /*with_column_sums=*/true);
    refill(number, all.column_sums);
    layer.full_query = layer.mean_query;
    return all.out.unsqueeze(0);
  }
  count_reads(number, rotated, static_cast<double>(layer.list.numel() + settings().kv_heads));
  const at::Tensor out = read_some(number, rotated, {layer.list, count - 1}).out.unsqueeze(0);
  layer.list = with_row(layer.list, count - 1, most_rows_);
  return out;
}

int64_t RecycledCache::full_steps() const {
  return std::accumulate(layers_.begin(), layers_.end(), int64_t{0},
                         [](int64_t sum, const Layer& layer) { return sum + layer.full_steps; });
}

std::unique_ptr<KvCache> RecycledCache::clone() const {
  // Lists and queries are replaced, never written in place: sharing them is safe.
  return std::unique_ptr<KvCache>(new RecycledCache(*this));
}

int64_t RecycledCache::size_bytes() const {
  int64_t bytes = FullCache::size_bytes();
  for (const Layer& layer : layers_)
    bytes += gca::model::size_bytes(layer.list) + gca::model::size_bytes(layer.last_query);
  return bytes;
}

void RecycledCache::visit(const Visitor& visitor) {
  FullCache::visit(visitor);
  at::Tensor state = pair_of(static_cast<int64_t>(answering_), most_rows_);
  visitor("recycled.state", state);
  answering_ = state[0].item<int32_t>() != 0;
  most_rows_ = state[1].item<int32_t>();
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const std::string name = "recycled." + std::to_string(i);
    at::Tensor steps = pair_of(layer.steps, layer.full_steps);
    visitor(name + ".steps", steps);
    layer.steps = steps[0].item<int32_t>();
    layer.full_steps = steps[1].item<int32_t>();
    visitor(name + ".list", layer.list);
    visitor(name + ".last_query", layer.last_query);
    visitor(name + ".mean_query", layer.mean_query);
    visitor(name + ".full_query", layer.full_query);
  }
}

}  // namespace gca::model
