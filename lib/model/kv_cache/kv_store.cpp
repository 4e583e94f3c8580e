#include "lib/model/kv_cache/kv_store.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "kernels/common/row_kernels.h"
#include "lib/model/layers/layer_caches.h"

namespace gca::model {
namespace {

/// Rows that are worth a thread.
constexpr int64_t kGrain = 1024;

/// `body(first, last, kernels, elements)` for rows first .. last of `rows`, in the functions and elements of its type.
template <typename Body>
void for_rows(const at::Tensor& rows, Body body) {
  const int64_t count = rows.numel() / rows.size(-1);
  if (rows.scalar_type() == at::kFloat) {
    at::parallel_for(0, count, kGrain, [&](int64_t first, int64_t last) {
      body(first, last, kernels::row_kernels().of_float, rows.mutable_data_ptr<float>());
    });
  } else {
    TORCH_CHECK(rows.scalar_type() == at::kBFloat16, "int8 rows are of float32 or bf16, not ",
                rows.scalar_type());
    at::parallel_for(0, count, kGrain, [&](int64_t first, int64_t last) {
      body(first, last, kernels::row_kernels().of_bf16, static_cast<uint16_t*>(rows.mutable_data_ptr()));
    });
  }
}

/// Int8 rows of `rows` (.., dh), and their step sizes (..).
std::pair<at::Tensor, at::Tensor> quantised(const at::Tensor& rows_in) {
  const at::Tensor rows = rows_in.contiguous();
  const int64_t dh = rows.size(-1);
  at::Tensor q = at::empty(rows.sizes(), rows.options().dtype(at::kChar));
  at::Tensor scales = at::empty(rows.sizes().slice(0, rows.dim() - 1), rows.options().dtype(at::kFloat));
  for_rows(rows, [&](int64_t first, int64_t last, const auto& kernels, const auto* elements) {
    kernels.quantise_rows(last - first, dh, elements + first * dh, q.mutable_data_ptr<int8_t>() + first * dh,
                          scales.mutable_data_ptr<float>() + first);
  });
  return {q, scales};
}

/// The way back, of rows (B, n, H_kv, dh) that lie by head.
at::Tensor restored_rows(const at::Tensor& q_in, const at::Tensor& scales_in, at::ScalarType type) {
  const at::Tensor q = q_in.transpose(1, 2).contiguous(), scales = scales_in.transpose(1, 2).contiguous();
  const int64_t dh = q.size(-1);
  const at::Tensor rows = at::empty(q.sizes(), q.options().dtype(type));
  for_rows(rows, [&](int64_t first, int64_t last, const auto& kernels, auto* elements) {
    kernels.restore_rows(last - first, dh, q.const_data_ptr<int8_t>() + first * dh,
                         scales.const_data_ptr<float>() + first, elements + first * dh);
  });
  return rows.transpose(1, 2);
}

/// Of each tensor that is defined.
template <typename Change>
StoredRows changed(const StoredRows& rows, Change change) {
  const auto one = [&](const at::Tensor& tensor) { return tensor.defined() ? change(tensor) : tensor; };
  return {one(rows.keys), one(rows.values), one(rows.key_scales), one(rows.value_scales)};
}

/// `rows` with other dimensions in place of the first `replaced`. One operator: a token of an answer makes such views in
/// every layer, and spends more time on them than on its row of keys.
at::Tensor rows_viewed(const at::Tensor& rows, std::vector<int64_t> shape, std::vector<int64_t> strides,
                       int64_t replaced) {
  for (int64_t dim = replaced; dim < rows.dim(); ++dim) {
    shape.push_back(rows.size(dim));
    strides.push_back(rows.stride(dim));
  }
  return rows.as_strided(shape, strides);
}

}  // namespace

StoredRows StoredRows::kept_in(KvDtype dtype, const at::Tensor& keys, const at::Tensor& values) {
  if (dtype == KvDtype::compute) return {keys, values, {}, {}};
  StoredRows rows;
  std::tie(rows.keys, rows.key_scales) = quantised(keys);
  std::tie(rows.values, rows.value_scales) = quantised(values);
  return rows;
}

StoredRows StoredRows::narrow(int64_t first, int64_t count) const {
  return changed(*this, [&](const at::Tensor& tensor) { return tensor.narrow(1, first, count); });
}

StoredRows StoredRows::chosen(const at::Tensor& places) const {
  return changed(*this, [&](const at::Tensor& tensor) { return tensor.index_select(1, places); });
}

StoredRows StoredRows::with_keys(const at::Tensor& new_keys) const {
  if (!value_scales.defined()) return {new_keys, values, {}, {}};
  const auto [q, scales] = quantised(new_keys);
  return {q, values, scales, value_scales};
}

StoredRows StoredRows::restored(at::ScalarType type) const {
  if (!key_scales.defined()) return *this;
  return {restored_rows(keys, key_scales, type), restored_rows(values, value_scales, type), {}, {}};
}

kernels::CachedRows StoredRows::of_text() const {
  const StoredRows text = changed(*this, [](const at::Tensor& tensor) { return tensor[0]; });
  return {text.keys, text.values, text.key_scales, text.value_scales};
}

at::Tensor KvStore::by_position(const at::Tensor& by_head) const {
  if (!by_head.defined()) return by_head;
  const int64_t head = by_head.stride(0);
  return rows_viewed(by_head, {by_head.size(0) / kv_heads_, by_head.size(1), kv_heads_},
                     {head * kv_heads_, by_head.stride(1), head}, 2);
}

at::Tensor KvStore::by_head(const at::Tensor& by_position) {
  if (by_position.size(0) != 1) return by_position.transpose(1, 2).flatten(0, 1);
  return rows_viewed(by_position, {by_position.size(2), by_position.size(1)},
                     {by_position.stride(2), by_position.stride(1)}, 3);
}

StoredRows KvStore::append(const StoredRows& rows, int64_t keep) {
  kv_heads_ = rows.keys.size(2);
  const auto append_to = [&](RowHistory& history, const at::Tensor& tensor) {
    return tensor.defined() ? by_position(history.append(by_head(tensor), keep)) : tensor;
  };
  return {append_to(keys_, rows.keys), append_to(values_, rows.values),
          append_to(key_scales_, rows.key_scales), append_to(value_scales_, rows.value_scales)};
}

void KvStore::truncate(int64_t count) {
  for (RowHistory* history : {&keys_, &values_, &key_scales_, &value_scales_}) history->truncate(count);
}

StoredRows KvStore::held() const {
  return {by_position(keys_.held()), by_position(values_.held()), by_position(key_scales_.held()),
          by_position(value_scales_.held())};
}

int64_t KvStore::size_bytes() const {
  return keys_.size_bytes() + values_.size_bytes() + key_scales_.size_bytes() + value_scales_.size_bytes();
}

KvStore KvStore::clone() const {
  KvStore copy(dtype_);
  if (keys_.held().defined()) copy.append(held());
  return copy;
}

void KvStore::visit(const std::string& name,
                    const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  StoredRows rows = held();
  visitor(name + ".keys", rows.keys);
  visitor(name + ".values", rows.values);
  if (dtype_ == KvDtype::int8) {
    visitor(name + ".key_scales", rows.key_scales);
    visitor(name + ".value_scales", rows.value_scales);
  }
  *this = KvStore(dtype_);
  if (rows.keys.defined()) append(rows);
}

}  // namespace gca::model
