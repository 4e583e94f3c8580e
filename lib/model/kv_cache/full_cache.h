#pragma once
// Everything is kept and read. Keys are rotated once, at their places in the text.

#include <optional>
#include <vector>

#include "kernels/indexed_attention/indexed_attention.h"
#include "lib/model/kv_cache/attention_settings.h"
#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/kv_cache/kv_store.h"
#include "lib/model/layers/layer_caches.h"

namespace gca::model {

class FullCache : public KvCache {
 public:
  explicit FullCache(AttentionSettings settings)
      : settings_(std::move(settings)),
        rows_(static_cast<size_t>(settings_.layers), KvStore(settings_.kv_dtype)) {}

  at::Tensor attend(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  std::unique_ptr<KvCache> clone() const override;
  int64_t size_bytes() const override { return gca::model::size_bytes(rows_); }
  void visit(const Visitor& visitor) override;

 protected:
  FullCache(const FullCache& other)
      : KvCache(other), settings_(other.settings_), rows_(clones_of(other.rows_)) {}

  struct Appended {
    at::Tensor q;     ///< (B, n, H, dh), rotated
    StoredRows rows;  ///< all that the layer holds
  };
  /// Rotates q and k at the next places and keeps k and v.
  Appended append(size_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
  /// All rows up to its own are read by each query of what was appended last.
  at::Tensor read_all(size_t layer, const Appended& appended);
  /// Those of `listed` are read by the last n rows of one text: q (1, n, H, dh), rotated.
  kernels::IndexedAttention read_some(size_t layer, const at::Tensor& q, const kernels::IndexedRows& listed,
                                      bool with_column_sums = false);
  /// Counts what a query that came alone reads: rows of all key/value heads, and bytes beside them.
  void count_reads(size_t layer, const at::Tensor& q, double rows, double more_bytes = 0);

  const AttentionSettings& settings() const { return settings_; }
  const KvStore& rows(size_t layer) const { return rows_[layer]; }

 private:
  AttentionSettings settings_;
  std::vector<KvStore> rows_;  // one a layer
};

}  // namespace gca::model
