#include "lib/model/layers/row_history.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/util/SmallVector.h>

#include <algorithm>
#include <vector>

#include "lib/model/layers/layer_caches.h"

namespace gca::model {

at::Tensor RowHistory::held() const {
  return buffer_.defined() ? rows_of_buffer(begin_, count_) : at::Tensor();
}

at::Tensor RowHistory::rows_of_buffer(int64_t first, int64_t count) const {
  c10::SmallVector<int64_t, 4> shape(buffer_.sizes().begin(), buffer_.sizes().end());
  shape[1] = count;
  // narrow() is three operators, of which a token of an answer would feel each.
  return buffer_.as_strided(shape, buffer_.strides(), buffer_.storage_offset() + first * buffer_.stride(1));
}

RowHistory RowHistory::holding(const at::Tensor& rows) {
  RowHistory history;
  history.buffer_ = rows.clone(at::MemoryFormat::Contiguous);
  history.count_ = rows.size(1);
  return history;
}

at::Tensor RowHistory::append(const at::Tensor& rows, int64_t keep) {
  const int64_t n = rows.size(1);
  if (n >= keep) {
    at::Tensor all = buffer_.defined() ? at::cat({held(), rows}, 1) : rows;
    // A copy, so that what is kept does not keep the whole segment alive.
    *this = holding(all.narrow(1, all.size(1) - keep, keep));
    return all;
  }
  make_room(n, keep, rows);
  rows_of_buffer(begin_ + count_, n).copy_(rows);
  count_ += n;
  at::Tensor all = held();
  forget_all_but(keep);
  return all;
}

RowHistory::OpenRow RowHistory::append_row(int64_t keep) {
  TORCH_CHECK(takes_rows(), "append_row: needs a batch of 1 and a first append");
  make_room(1, keep, buffer_);
  const auto bytes_before = static_cast<size_t>(begin_ * buffer_.stride(1)) * buffer_.element_size();
  const OpenRow row{static_cast<char*>(buffer_.mutable_data_ptr()) + bytes_before, count_ + 1};
  ++count_;
  forget_all_but(keep);
  return row;
}

/// For n rows more, of the shape and type of those of `like` (B, any, ..).
void RowHistory::make_room(int64_t n, int64_t keep, const at::Tensor& like) {
  const int64_t needed = count_ + n;
  if (buffer_.defined() && begin_ + needed <= buffer_.size(1)) return;
  // Room for a quarter as many again, so that rows move a bounded number of times; a history that forgets moves its rows
  // to the front once in as many positions as it keeps.
  constexpr int64_t kLeast = 64;
  std::vector<int64_t> shape = like.sizes().vec();
  shape[1] = needed + std::min(keep, std::max(needed / 4, kLeast));
  at::Tensor larger = at::empty(shape, like.options());
  if (count_ > 0) larger.narrow(1, 0, count_).copy_(held());
  buffer_ = larger;
  begin_ = 0;
}

void RowHistory::forget_all_but(int64_t keep) {
  const int64_t forgotten = std::max<int64_t>(0, count_ - keep);
  begin_ += forgotten;
  count_ -= forgotten;
}

int64_t RowHistory::size_bytes() const {
  return gca::model::size_bytes(buffer_);
}

RowHistory RowHistory::clone() const {
  return buffer_.defined() ? holding(held()) : RowHistory();
}

void RowHistory::visit(const std::string& name,
                       const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  at::Tensor rows = held();
  visitor(name, rows);
  if (rows.defined()) *this = holding(rows);
}

}  // namespace gca::model
