#include "lib/model/memory/chunk_memory.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "lib/model/layers/layer_caches.h"

namespace gca::model {
namespace {

/// Rows along dimension 1 that grow: the tensor given first is kept as it is; later ones are copied into a
/// buffer whose capacity grows by half.
class GrowingTensor {
 public:
  void append(const at::Tensor& rows) {
    if (count_ == 0) {
      buffer_ = rows;
    } else {
      const int64_t needed = count_ + rows.size(1);
      if (!owned_ || needed > buffer_.size(1)) grow(std::max(needed, needed + needed / 2));
      buffer_.narrow(1, count_, rows.size(1)).copy_(rows);
    }
    count_ += rows.size(1);
  }

  at::Tensor view() const { return buffer_.narrow(1, 0, count_); }
  int64_t count() const { return count_; }
  int64_t size_bytes() const { return gca::model::size_bytes(buffer_); }

  GrowingTensor clone() const {
    GrowingTensor copy;
    if (count_ == 0) return copy;
    copy.buffer_ = view().clone();
    copy.count_ = count_;
    copy.owned_ = true;
    return copy;
  }

 private:
  void grow(int64_t capacity) {
    std::vector<int64_t> shape = buffer_.sizes().vec();
    shape[1] = capacity;
    at::Tensor larger = at::empty(shape, buffer_.options());
    larger.narrow(1, 0, count_).copy_(view().detach());
    buffer_ = larger;
    owned_ = true;
  }

  at::Tensor buffer_;
  int64_t count_ = 0;
  bool owned_ = false;  // false: the buffer is a tensor that others may hold
};

class TensorChunkMemory final : public ChunkMemory {
 public:
  void append(const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values) override {
    TORCH_CHECK(chunk_count() == 0 || !(keys.requires_grad() && at::GradMode::is_enabled()),
                "chunk memory: only a first append can be differentiated through");
    landmarks_.append(landmarks);
    keys_.append(keys);
    values_.append(values);
  }

  int64_t chunk_count() const override { return landmarks_.count(); }
  std::vector<kernels::LandmarkPart> landmark_parts() const override { return {{landmarks_.view()}}; }
  ChunkView read(const at::Tensor& idx) const override { return {keys_.view(), values_.view(), idx}; }

  int64_t size_bytes() const override {
    return landmarks_.size_bytes() + keys_.size_bytes() + values_.size_bytes();
  }

  std::unique_ptr<ChunkMemory> clone() const override {
    auto copy = std::make_unique<TensorChunkMemory>();
    copy->landmarks_ = landmarks_.clone();
    copy->keys_ = keys_.clone();
    copy->values_ = values_.clone();
    return copy;
  }

 private:
  GrowingTensor landmarks_;  // (B, C, d)
  GrowingTensor keys_;       // (B, C, S-1, H_kv, dh)
  GrowingTensor values_;     // (B, C, S-1, H_kv, dh)
};

}  // namespace

at::Tensor ChunkMemory::landmarks() const {
  const std::vector<at::Tensor> rows = kernels::rows_of(landmark_parts());
  return rows.size() == 1 ? rows.front() : at::cat(rows, 1);
}

std::unique_ptr<ChunkMemory> make_tensor_chunk_memory() {
  return std::make_unique<TensorChunkMemory>();
}

void visit_chunk_memory(ChunkMemory& memory,
                        const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor) {
  const bool is_empty = memory.chunk_count() == 0;
  at::Tensor landmarks, keys, values;
  if (!is_empty) {
    landmarks = memory.landmarks();
    const at::Tensor every =
        at::arange(memory.chunk_count(), landmarks.options().dtype(at::kInt)).view({1, 1, -1});
    const ChunkView view = memory.read(every);
    keys = view.keys;
    values = view.values;
  }
  visitor("memory.landmarks", landmarks);
  visitor("memory.keys", keys);
  visitor("memory.values", values);
  if (is_empty && landmarks.defined()) memory.append(landmarks, keys, values);
}

}  // namespace gca::model
