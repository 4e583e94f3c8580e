#pragma once
// Keys and values of one layer, as many as were appended.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/model/layers/layer_caches.h"
#include "lib/model/layers/row_history.h"

namespace gca::model {

class KvRows {
 public:
  /// keys and values (B, n, H_kv, dh).
  void append(const at::Tensor& keys, const at::Tensor& values);
  /// Room for one more position of a batch of 1, as RowHistory has it. Needs a first append.
  struct OpenRow {
    RowHistory::OpenRow keys, values;
  };
  OpenRow append_row() { return {keys_.append_row(), values_.append_row()}; }
  bool takes_rows() const { return keys_.takes_rows(); }
  /// Keeps the first `count`.
  void truncate(int64_t count);

  int64_t count() const { return keys_.count(); }
  /// (B, count, H_kv, dh), a view until the next append; undefined before the first.
  at::Tensor keys() const { return keys_.held(); }
  at::Tensor values() const { return values_.held(); }

  int64_t size_bytes() const { return keys_.size_bytes() + values_.size_bytes(); }
  KvRows clone() const;
  /// Visits "NAME.keys" and "NAME.values"; what the visitor sets replaces all rows.
  void visit(const std::string& name,
             const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

 private:
  RowHistory keys_, values_;
};

/// Visits "PREFIXL.keys" and "PREFIXL.values" of every layer L: KvRows, or what is visited as they are.
template <class Rows>
void visit_rows(std::vector<Rows>& layers, const std::string& prefix,
                const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  for (size_t layer = 0; layer < layers.size(); ++layer)
    layers[layer].visit(prefix + std::to_string(layer), visitor);
}

}  // namespace gca::model
