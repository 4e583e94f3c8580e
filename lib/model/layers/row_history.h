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

  /// Room for one more row of a batch of 1, in the buffer itself: `count` rows lie side by side from `first` on, the last is
  /// for the caller to fill. Forgets all but the last `keep`, as above. Holds until the next append. Needs a first append.
  struct OpenRow {
    void* first;
    int64_t count;

    /// Of the last row, of `row_size` elements of T.
    template <typename T>
    T* newest(int64_t row_size) const {
      return static_cast<T*>(first) + (count - 1) * row_size;
    }
  };
  OpenRow append_row(int64_t keep = kAll);
  /// Whether append_row() may be called.
  bool takes_rows() const { return buffer_.defined() && buffer_.size(0) == 1; }

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
  void make_room(int64_t n, int64_t keep, const at::Tensor& like);
  void forget_all_but(int64_t keep);

  at::Tensor buffer_;  // rows begin_ .. begin_ + count_ are in use
  int64_t begin_ = 0;
  int64_t count_ = 0;
};

}  // namespace gca::model
