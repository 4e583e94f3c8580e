#include "lib/model/layers/window_cache.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace gca::model {
namespace {

/// A buffer of `capacity` rows that begins with the last `count` of `rows`.
at::Tensor buffer_with(const at::Tensor& rows, int64_t count, int64_t capacity) {
  std::vector<int64_t> shape = rows.sizes().vec();
  shape[1] = capacity;
  at::Tensor buffer = at::empty(shape, rows.options());
  buffer.narrow(1, 0, count).copy_(rows.narrow(1, rows.size(1) - count, count));
  return buffer;
}

}  // namespace

WindowCache::Rows WindowCache::held() const {
  if (!keys_.defined()) return {};
  return {keys_.narrow(1, begin_, count_), values_.narrow(1, begin_, count_)};
}

WindowCache WindowCache::holding(const Rows& rows) {
  WindowCache cache;
  cache.keep_last(rows, rows.keys.size(1), rows.keys.size(1));
  return cache;
}

void WindowCache::keep_last(const Rows& rows, int64_t count, int64_t capacity) {
  keys_ = buffer_with(rows.keys, count, capacity);
  values_ = buffer_with(rows.values, count, capacity);
  begin_ = 0;
  count_ = count;
}

WindowCache::Rows WindowCache::append(const at::Tensor& keys, const at::Tensor& values, int64_t window) {
  const int64_t n = keys.size(1);
  if (n >= window || !keys_.defined()) {
    Rows rows{keys, values};
    if (keys_.defined()) rows = {at::cat({held().keys, keys}, 1), at::cat({held().values, values}, 1)};
    const int64_t kept = std::min(rows.keys.size(1), window);
    // A copy, so that the window does not keep the whole segment alive.
    keep_last(rows, kept, kept);
    return rows;
  }

  if (begin_ + count_ + n > keys_.size(1)) keep_last(held(), count_, count_ + n + window);
  keys_.narrow(1, begin_ + count_, n).copy_(keys);
  values_.narrow(1, begin_ + count_, n).copy_(values);
  count_ += n;
  const Rows rows = held();
  const int64_t forgotten = std::max<int64_t>(0, count_ - window);
  begin_ += forgotten;
  count_ -= forgotten;
  return rows;
}

WindowCache::OpenRow WindowCache::append_row(int64_t window) {
  TORCH_CHECK(keys_.defined() && keys_.size(0) == 1, "append_row: needs a batch of 1 and a first append");
  if (begin_ + count_ + 1 > keys_.size(1)) keep_last(held(), count_, count_ + 1 + window);
  const auto first_row = [&](const at::Tensor& buffer) {
    return static_cast<char*>(buffer.mutable_data_ptr()) + begin_ * buffer.stride(1) * buffer.element_size();
  };
  const OpenRow row{first_row(keys_), first_row(values_), count_ + 1};
  const int64_t forgotten = std::max<int64_t>(0, count_ + 1 - window);
  begin_ += forgotten;
  count_ += 1 - forgotten;
  return row;
}

int64_t WindowCache::size_bytes() const {
  return gca::model::size_bytes(keys_) + gca::model::size_bytes(values_);
}

WindowCache WindowCache::clone() const {
  WindowCache copy;
  if (keys_.defined()) copy.keep_last(held(), count_, count_);
  return copy;
}

void visit_windows(std::vector<WindowCache>& windows,
                   const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  for (size_t layer = 0; layer < windows.size(); ++layer) {
    const std::string name = "window." + std::to_string(layer);
    WindowCache::Rows rows = windows[layer].held();
    visitor(name + ".keys", rows.keys);
    visitor(name + ".values", rows.values);
    if (rows.keys.defined()) windows[layer] = WindowCache::holding(rows);
  }
}

}  // namespace gca::model
