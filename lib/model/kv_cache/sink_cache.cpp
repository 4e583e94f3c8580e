#include "lib/model/kv_cache/sink_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

#include "kernels/indexed_attention/indexed_attention.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::model {
namespace {

/// Attention over part of the keys: its output, and the logarithm of the softmax's denominator.
struct PartialAttention {
  at::Tensor out;  // (B, n, H, dh)
  at::Tensor lse;  // (B, H, n)
};

/// Of the last n positions over the rows of a window. A tile of one query would be mostly padding.
PartialAttention read_window(const at::Tensor& q, const StoredRows& rows, const AttentionSettings& settings,
                             int64_t window) {
  if (q.size(0) == 1 && q.size(1) == 1) {
    const kernels::IndexedAttention read =
        kernels::indexed_attention(q[0], rows.of_text(), {}, settings.slopes, settings.scale);
    return {read.out.unsqueeze(0), read.lse.t().unsqueeze(0)};
  }
  const StoredRows all = rows.restored(q.scalar_type());
  const auto [out, lse] = kernels::sliding_window_attention_forward(q, all.keys, all.values, settings.slopes,
                                                                    window, settings.scale);
  return {out, lse};
}

/// Of queries at `query_places` (n) over the first keys of a text, of which query i sees those before
/// `first_of_window[i]`.
PartialAttention read_sinks(const at::Tensor& q, const StoredRows& first, const AttentionSettings& settings,
                            const std::vector<int64_t>& query_places,
                            const std::vector<int64_t>& first_of_window) {
  const at::ScalarType wide = settings.slopes.scalar_type();
  const auto by_head = [&](const at::Tensor& rows) {  // (B, H, m, dh)
    return rows.to(wide).repeat_interleave(settings.heads / settings.kv_heads, 2).transpose(1, 2);
  };
  const at::Tensor key_place = at::arange(first.count(), at::kDouble);
  const at::Tensor distance = at::tensor(query_places, at::kDouble).unsqueeze(1) - key_place;  // (n, m)
  const at::Tensor hidden = key_place.unsqueeze(0).ge(at::tensor(first_of_window, at::kDouble).unsqueeze(1));
  at::Tensor score =
      at::matmul(q.to(wide).transpose(1, 2), by_head(first.keys).transpose(2, 3)) * settings.scale;
  score = score - settings.slopes.view({1, -1, 1, 1}) * distance.to(wide);
  score = score.masked_fill(hidden, -std::numeric_limits<double>::infinity());  // (B, H, n, m)
  const at::Tensor lse = at::logsumexp(score, -1);
  const at::Tensor p = at::nan_to_num(at::exp(score - lse.unsqueeze(-1)));  // of queries that see none: 0
  return {at::matmul(p, by_head(first.values)).transpose(1, 2), lse};
}

/// The same of a single query of one text at `query_place`, which sees all of `first`, in place.
PartialAttention read_sinks(const at::Tensor& q, const StoredRows& first, const AttentionSettings& settings,
                            int64_t query_place) {
  const kernels::IndexedAttention read =
      kernels::indexed_attention(q[0], first.of_text(), {}, settings.slopes, settings.scale);
  // It counts places from the last of the rows, which moves all scores of a head alike.
  const auto farther = static_cast<double>(query_place - (first.count() - 1));
  return {read.out.unsqueeze(0), (read.lse - settings.slopes * farther).t().unsqueeze(0)};
}

}  // namespace

at::Tensor SinkCache::attend(size_t number, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  Layer& layer = layers_[number];
  const int64_t n = q.size(1);
  const int64_t before = layer.seen;
  layer.seen += n;
  const auto [queries, keys] = settings_.angles->turn(q, k, before);
  if (before < sinks_) {
    const int64_t count = std::min(n, sinks_ - before);
    layer.first.append(keys.narrow(1, 0, count), v.narrow(1, 0, count));
  }
  const StoredRows rows = layer.last.append(keys, v, window_ - 1);
  const PartialAttention recent = read_window(queries, rows, settings_, window_ - 1);
  const bool reads_sinks = sinks_ > 0 && before + n > window_;
  if (n == 1) {
    const auto read =
        static_cast<double>(settings_.kv_heads *
                            (rows.keys.size(1) + (reads_sinks ? std::min(sinks_, before + 1 - window_) : 0)));
    reads_.add(read, static_cast<double>(settings_.kv_heads * layer.seen),
               settings_.bytes_per_row(q.scalar_type()));
  }
  if (!reads_sinks) return recent.out;

  const auto merged = [&](const PartialAttention& sinks) {
    const at::Tensor total = at::logaddexp(recent.lse, sinks.lse);
    const auto share = [&](const at::Tensor& part) {  // (B, n, H, 1)
      return at::exp(part - total).transpose(1, 2).unsqueeze(-1);
    };
    return (recent.out.to(total.scalar_type()) * share(recent.lse) + sinks.out * share(sinks.lse))
        .to(q.scalar_type());
  };
  if (q.size(0) == 1 && n == 1) {
    const int64_t place = std::min(before, sinks_ + window_ - 1);
    const StoredRows seen = layer.first.held().narrow(0, std::min(sinks_, before + 1 - window_));
    return merged(read_sinks(settings_.angles->turn(q, place), seen, settings_, place));
  }
  std::vector<int64_t> query_places, first_of_window;
  for (int64_t i = before; i < before + n; ++i) {
    query_places.push_back(std::min(i, sinks_ + window_ - 1));
    first_of_window.push_back(i - window_ + 1);
  }
  return merged(read_sinks(settings_.angles->turn_at(q, query_places),
                           layer.first.held().restored(at::kFloat), settings_, query_places,
                           first_of_window));
}

std::unique_ptr<KvCache> SinkCache::clone() const {
  auto copy = std::make_unique<SinkCache>(settings_, sinks_, window_);
  copy->reads_ = reads_;
  for (size_t i = 0; i < layers_.size(); ++i)
    copy->layers_[i] = {layers_[i].seen, layers_[i].first.clone(), layers_[i].last.clone()};
  return copy;
}

int64_t SinkCache::size_bytes() const {
  int64_t bytes = 0;
  for (const Layer& layer : layers_) bytes += layer.first.size_bytes() + layer.last.size_bytes();
  return bytes;
}

void SinkCache::visit(const Visitor& visitor) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const std::string name = "kv." + std::to_string(i);
    at::Tensor seen = at::full({1}, layer.seen, at::kInt);
    visitor(name + ".seen", seen);
    layer.seen = seen.item<int32_t>();
    layer.first.visit(name + ".first", visitor);
    layer.last.visit(name + ".last", visitor);
  }
}

}  // namespace gca::model
