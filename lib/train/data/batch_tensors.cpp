#include "lib/train/data/batch_tensors.h"

#include <ATen/ops/from_blob.h>

namespace gca::train {
namespace {

at::Tensor copy_of(const std::vector<int64_t>& values, int64_t rows, int64_t length) {
  // from_blob wants a mutable pointer; the clone is all that is kept.
  auto* data = const_cast<int64_t*>(values.data());
  return at::from_blob(data, {rows, length}, at::TensorOptions(at::kLong)).clone();
}

}  // namespace

BatchTensors to_tensors(const data::Batch& batch) {
  return {copy_of(batch.ids, batch.rows, batch.length), copy_of(batch.targets, batch.rows, batch.length)};
}

}  // namespace gca::train
