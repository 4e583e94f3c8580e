#pragma once
// Keys and values of one layer whose best keys are searched, with the index that finds them.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

#include "lib/model/layers/key_index.h"
#include "lib/model/layers/kv_rows.h"

namespace gca::model {

class SearchedRows {
 public:
  /// As KvRows has them.
  void append(const at::Tensor& keys, const at::Tensor& values) { rows_.append(keys, values); }
  KvRows::OpenRow append_row() { return rows_.append_row(); }
  bool takes_rows() const { return rows_.takes_rows(); }
  at::Tensor keys() const { return rows_.keys(); }
  at::Tensor values() const { return rows_.values(); }

  /// Of those keys that the layer searches, as far as it was made to follow them. A copy of the rows and rows that a
  /// visitor has set begin without one: the next search makes it anew.
  KeyIndex& index() { return index_; }

  int64_t size_bytes() const { return rows_.size_bytes() + index_.size_bytes(); }
  SearchedRows clone() const {
    SearchedRows copy;
    copy.rows_ = rows_.clone();
    return copy;
  }
  void visit(const std::string& name,
             const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
    rows_.visit(name, visitor);
    index_ = {};
  }

 private:
  KvRows rows_;
  KeyIndex index_;
};

}  // namespace gca::model
