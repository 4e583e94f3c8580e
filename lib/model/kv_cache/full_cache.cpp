#include "lib/model/kv_cache/full_cache.h"

#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace gca::model {
namespace {

/// Up to so many queries of one text read rows in place; a tile would be mostly padding.
constexpr int64_t kFewQueries = 4;

}  // namespace

at::Tensor FullCache::append(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  KvRows& rows = rows_[layer];
  const int64_t first = rows.count();
  rows.append(settings_.angles->turn(k, first), v);
  return settings_.angles->turn(q, first);
}

void FullCache::count_reads(size_t layer, const at::Tensor& q, double rows, double more_bytes) {
  if (q.size(1) != 1) return;
  reads_.add(rows, static_cast<double>(rows_[layer].count() * settings_.kv_heads),
             settings_.bytes_per_row(q.scalar_type()), more_bytes);
}

at::Tensor FullCache::read_all(size_t layer, const at::Tensor& q) {
  const KvRows& rows = rows_[layer];
  count_reads(layer, q, static_cast<double>(rows.count() * settings_.kv_heads));
  if (q.size(0) == 1 && q.size(1) <= kFewQueries) return read_some(layer, q, {}).out.unsqueeze(0);
  return kernels::sliding_window_attention(q, rows.keys(), rows.values(), settings_.slopes,
                                           /*window=*/rows.count(), settings_.scale);
}

kernels::IndexedAttention FullCache::read_some(size_t layer, const at::Tensor& q,
                                               const kernels::IndexedRows& listed, bool with_column_sums) {
  TORCH_CHECK(q.size(0) == 1, "a policy's choice of rows is of one text");
  const KvRows& rows = rows_[layer];
  return kernels::indexed_attention(q[0], rows.keys()[0], rows.values()[0], listed, settings_.slopes,
                                    settings_.scale, with_column_sums);
}

at::Tensor FullCache::attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return read_all(layer, append(layer, q, k, v));
}

std::unique_ptr<KvCache> FullCache::clone() const {
  return std::unique_ptr<KvCache>(new FullCache(*this));
}

}  // namespace gca::model
