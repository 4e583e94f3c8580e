#pragma once
// Rows of all positions so far, or of the last of them: what a past keeps of keys and values beyond a window.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>

namespace gca::model {

class RowHistory {
 public:
  static constexpr int64_t kAll = int64_t{1} << 62;

  /// Appends rows (B, n, ..) and returns those held with them, (B, P + n, ..), P <= keep; then forgets all
  /// but the last `keep`. The result holds until the next append. Appending many takes time in proportion to
  /// their number.
  at::Tensor append(const at::Tensor& rows, int64_t keep = kAll);

  /// Forgets all but the first `count` of the rows held.
  void truncate(int64_t count) { count_ = std::min(count_, count); }

  int64_t count() const { return count_; }
  /// The rows held (B, P, ..); undefined before the first append.
  at::Tensor held() const;
  /// A history that holds a copy of these.
  static RowHistory holding(const at::Tensor& rows);

  int64_t size_bytes() const;
  /// A copy that later appends to either do not change.
  RowHistory clone() const;

  /// Shows held() to a visitor of a past (lib/model/backbone.h), and takes what it puts in its place.
  void visit(const std::string& name,
             const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

 private:
  at::Tensor rows_of_buffer(int64_t first, int64_t count) const;

  at::Tensor buffer_;  // rows begin_ .. begin_ + count_ are in use
  int64_t begin_ = 0;
  int64_t count_ = 0;
};

}  // namespace gca::model
