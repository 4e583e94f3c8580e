#include "lib/train/data/batch_tensors.h"

#include <ATen/ops/from_blob.h>

namespace gca::train {
namespace {

template <class T>
at::Tensor copy_of(const std::vector<T>& values, at::IntArrayRef shape, at::ScalarType type) {
  // from_blob wants a mutable pointer; the clone is all that is kept.
  auto* data = const_cast<T*>(values.data());
  return at::from_blob(data, shape, at::TensorOptions(type)).clone();
}

}  // namespace

BatchTensors to_tensors(const data::Batch& batch) {
  const std::vector<int64_t> shape = {batch.rows, batch.length};
  return {copy_of(batch.ids, shape, at::kLong), copy_of(batch.targets, shape, at::kLong)};
}

at::Tensor chunk_vectors_of(const data::Batch& batch) {
  if (batch.vector_size == 0) return {};
  return copy_of(batch.chunk_vectors, {batch.rows, batch.chunks, batch.vector_size}, at::kFloat);
}

}  // namespace gca::train
