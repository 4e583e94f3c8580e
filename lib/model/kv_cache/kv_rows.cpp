#include "lib/model/kv_cache/kv_rows.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace gca::model {
namespace {

constexpr int64_t kPageRows = 256;

at::Tensor grown(const at::Tensor& held, const at::Tensor& like, int64_t capacity, int64_t count) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[1] = capacity;
  at::Tensor buffer = at::empty(shape, like.options());
  if (count > 0) buffer.narrow(1, 0, count).copy_(held.narrow(1, 0, count));
  return buffer;
}

}  // namespace

void KvRows::make_room(const at::Tensor& like, int64_t rows) {
  if (keys_.defined() && count_ + rows <= keys_.size(1)) return;
  // A quarter more than is needed, so that a text of T costs O(T) copies.
  const int64_t wanted = count_ + rows + count_ / 4;
  const int64_t capacity = (wanted + kPageRows - 1) / kPageRows * kPageRows;
  keys_ = grown(keys_, like, capacity, count_);
  values_ = grown(values_, like, capacity, count_);
}

void KvRows::append(const at::Tensor& keys, const at::Tensor& values) {
  const int64_t rows = keys.size(1);
  make_room(keys, rows);
  keys_.narrow(1, count_, rows).copy_(keys);
  values_.narrow(1, count_, rows).copy_(values);
  count_ += rows;
}

void KvRows::truncate(int64_t count) {
  count_ = std::min(count_, count);
}

int64_t KvRows::size_bytes() const {
  return keys_.defined() ? static_cast<int64_t>(keys_.nbytes() + values_.nbytes()) : 0;
}

KvRows KvRows::clone() const {
  KvRows copy;
  if (count_ > 0) copy.append(keys(), values());
  return copy;
}

void KvRows::visit(const std::string& name,
                   const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  at::Tensor own_keys = keys(), own_values = values();
  visitor(name + ".keys", own_keys);
  visitor(name + ".values", own_values);
  if (!own_keys.defined()) return;
  KvRows visited;
  visited.append(own_keys, own_values);
  *this = std::move(visited);
}

std::vector<KvRows> clones_of(const std::vector<KvRows>& layers) {
  std::vector<KvRows> copies;
  for (const KvRows& layer : layers) copies.push_back(layer.clone());
  return copies;
}

int64_t size_bytes(const std::vector<KvRows>& layers) {
  int64_t bytes = 0;
  for (const KvRows& layer : layers) bytes += layer.size_bytes();
  return bytes;
}

void visit_rows(std::vector<KvRows>& layers,
                const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  for (size_t layer = 0; layer < layers.size(); ++layer)
    layers[layer].visit("kv." + std::to_string(layer), visitor);
}

}  // namespace gca::model
