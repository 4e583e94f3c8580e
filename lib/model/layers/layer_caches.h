#pragma once
// What pasts (lib/model/backbone.h) do with the caches of their layers, whatever a cache keeps.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace gca::model {

/// 0 where it is undefined.
inline int64_t size_bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

/// Copies that later appends to either do not change.
template <class Cache>
std::vector<Cache> clones_of(const std::vector<Cache>& layers) {
  std::vector<Cache> copies;
  for (const Cache& layer : layers) copies.push_back(layer.clone());
  return copies;
}

template <class Cache>
int64_t size_bytes(const std::vector<Cache>& layers) {
  int64_t bytes = 0;
  for (const Cache& layer : layers) bytes += layer.size_bytes();
  return bytes;
}

}  // namespace gca::model
