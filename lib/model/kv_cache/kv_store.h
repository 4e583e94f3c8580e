#pragma once
// Keys and values of one layer as the caches of policies keep them: the rows of a head side by side, which is how
// a single query reads them; in the type they were computed in, or in int8 with a step size for each row and head.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/indexed_attention/indexed_attention.h"
#include "lib/model/kv_cache/kv_policy.h"
#include "lib/model/layers/row_history.h"

namespace gca::model {

/// Keys and values (B, n, H_kv, dh), any strides; int8 ones with step sizes (B, n, H_kv) float32. Undefined where
/// there are none.
struct StoredRows {
  at::Tensor keys, values;
  at::Tensor key_scales, value_scales;  ///< undefined unless int8

  /// Rows as a cache of this type keeps them; int8 from float32 or bf16.
  static StoredRows kept_in(KvDtype dtype, const at::Tensor& keys, const at::Tensor& values);

  int64_t count() const { return keys.defined() ? keys.size(1) : 0; }
  StoredRows narrow(int64_t first, int64_t count) const;
  /// Of the positions `places` (m) int64.
  StoredRows chosen(const at::Tensor& places) const;
  /// The same values with other keys.
  StoredRows with_keys(const at::Tensor& keys) const;
  /// What int8 rows stand for, in float32 or bf16; others as they are.
  StoredRows restored(at::ScalarType type) const;
  /// Of a batch of one.
  kernels::CachedRows of_text() const;
};

class KvStore {
 public:
  explicit KvStore(KvDtype dtype = KvDtype::compute) : dtype_(dtype) {}

  /// Appends rows (B, n, ..) and returns those held with them, (B, P + n, ..), P <= keep; then forgets all but the
  /// last `keep`. The result holds until the next append.
  StoredRows append(const at::Tensor& keys, const at::Tensor& values, int64_t keep = RowHistory::kAll) {
    return append(StoredRows::kept_in(dtype_, keys, values), keep);
  }
  /// The same of rows that are in the type of this store.
  StoredRows append(const StoredRows& rows, int64_t keep = RowHistory::kAll);
  /// Keeps the first `count`.
  void truncate(int64_t count);

  KvDtype dtype() const { return dtype_; }
  int64_t count() const { return keys_.count(); }
  StoredRows held() const;

  int64_t size_bytes() const;
  /// A copy that later appends to either do not change.
  KvStore clone() const;
  /// Visits "NAME.keys" and "NAME.values", of int8 "NAME.key_scales" and "NAME.value_scales" too; what the visitor
  /// sets replaces all rows.
  void visit(const std::string& name,
             const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

 private:
  /// (B H_kv, n, ..) -> (B, n, H_kv, ..)
  at::Tensor by_position(const at::Tensor& by_head) const;
  /// (B, n, H_kv, ..) -> (B H_kv, n, ..)
  static at::Tensor by_head(const at::Tensor& by_position);

  KvDtype dtype_;
  int64_t kv_heads_ = 0;
  RowHistory keys_, values_, key_scales_, value_scales_;  // (B H_kv, n, ..)
};

}  // namespace gca::model
