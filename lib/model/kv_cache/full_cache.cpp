#include "lib/model/kv_cache/full_cache.h"

#include "lib/model/kv_cache/read_all_rows.h"

namespace gca::model {

FullCache::Appended FullCache::append(size_t layer, const at::Tensor& q, const at::Tensor& k,
                                      const at::Tensor& v) {
  KvStore& rows = rows_[layer];
  const auto [turned_q, turned_k] = settings_.angles->turn(q, k, rows.count());
  return {turned_q, rows.append(turned_k, v)};
}

void FullCache::count_reads(size_t layer, const at::Tensor& q, double rows, double more_bytes) {
  if (q.size(1) != 1) return;
  reads_.add(rows, static_cast<double>(rows_[layer].count() * settings_.kv_heads),
             settings_.bytes_per_row(q.scalar_type()), more_bytes);
}

at::Tensor FullCache::read_all(size_t layer, const Appended& appended) {
  count_reads(layer, appended.q, static_cast<double>(appended.rows.count() * settings_.kv_heads));
  return read_all_rows(appended.q, appended.rows, settings_);
}

kernels::IndexedAttention FullCache::read_some(size_t layer, const at::Tensor& q,
                                               const kernels::IndexedRows& listed, bool with_column_sums) {
  TORCH_CHECK(q.size(0) == 1, "a policy's choice of rows is of one text");
  return kernels::indexed_attention(q[0], rows_[layer].held().of_text(), listed, settings_.slopes,
                                    settings_.scale, with_column_sums);
}

at::Tensor FullCache::attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return read_all(layer, append(layer, q, k, v));
}

void FullCache::visit(const Visitor& visitor) {
  for (size_t layer = 0; layer < rows_.size(); ++layer)
    rows_[layer].visit("kv." + std::to_string(layer), visitor);
}

std::unique_ptr<KvCache> FullCache::clone() const {
  return std::unique_ptr<KvCache>(new FullCache(*this));
}

}  // namespace gca::model
