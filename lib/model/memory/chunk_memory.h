#pragma once
// The model's long past: for every finished chunk its landmark embedding, keys and values, once for all
// layers.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/landmark_topk/landmark_search.h"

namespace gca::model {

/// Keys and values that an attention call may read in place, and the indices to read them with.
struct ChunkView {
  at::Tensor keys;    ///< (B, C', S-1, H_kv, dh)
  at::Tensor values;  ///< (B, C', S-1, H_kv, dh)
  at::Tensor idx;     ///< (B, R, K) int32 into C', -1 for none
};

/// Append-only. Owned by one past (lib/model/backbone.h); not thread-safe. Where the rows live is the store's
/// choice.
class ChunkMemory {
 public:
  virtual ~ChunkMemory() = default;

  /// Adds c chunks: landmarks (B, c, d) float32, keys and values (B, c, S-1, H_kv, dh).
  virtual void append(const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values) = 0;
  virtual int64_t chunk_count() const = 0;
  /// Landmark embeddings of all chunks, float32: parts (B, C_i, d) one after the other, as they lie. Valid
  /// until the next append.
  virtual std::vector<kernels::LandmarkPart> landmark_parts() const = 0;
  /// The same as one tensor (B, C, d); C > 0.
  at::Tensor landmarks() const;
  /// The chunks that idx (B, R, K) int32 names, ready to be read. The view stays as it is whatever is
  /// appended.
  virtual ChunkView read(const at::Tensor& idx) const = 0;
  virtual int64_t size_bytes() const = 0;
  virtual std::unique_ptr<ChunkMemory> clone() const = 0;
};

/// Chunk memory in ordinary tensors, of any batch. A single append keeps the tensors themselves, so training
/// differentiates through it; later appends copy into a buffer that grows by half. One text, which may be
/// long, is better kept in a StoredChunkMemory.
std::unique_ptr<ChunkMemory> make_tensor_chunk_memory();

/// Visits "memory.landmarks", "memory.keys" and "memory.values" of all chunks, as part of a past; undefined
/// where there are none. What the visitor sets in an empty memory is appended.
void visit_chunk_memory(ChunkMemory& memory,
                        const std::function<void(const std::string& name, at::Tensor& tensor)>& visitor);

}  // namespace gca::model
