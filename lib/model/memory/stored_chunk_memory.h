#pragma once
// Chunk memory of one text in stores: stretches of chunks that may come from several (memories joined, one
// patched over another), and a store at the end that grows.

#include <functional>
#include <memory>
#include <vector>

#include "lib/model/memory/chunk_memory.h"
#include "lib/model/memory/chunk_store.h"

namespace gca::model {

class StoredChunkMemory final : public ChunkMemory {
 public:
  using NewStore = std::function<std::shared_ptr<ChunkStore>()>;

  /// `new_store` makes the store that appended chunks go to, when the first comes.
  explicit StoredChunkMemory(NewStore new_store) : new_store_(std::move(new_store)) {}
  /// In RAM or a file.
  StoredChunkMemory(const ModelConfig& config, at::ScalarType compute_dtype, const MemoryPlace& place);

  void append(const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values) override;
  int64_t chunk_count() const override { return count_; }
  std::vector<kernels::LandmarkPart> landmark_parts() const override;
  ChunkView read(const at::Tensor& idx) const override;
  int64_t size_bytes() const override;
  /// Shares what is there; what either gets from now on is its own, in RAM.
  std::unique_ptr<ChunkMemory> clone() const override;

  /// Adds chunks [first, first + count) of a store at the end; they are shared, not copied.
  void join(std::shared_ptr<const ChunkStore> store, int64_t first, int64_t count);
  void join(const StoredChunkMemory& other);
  /// Chunks first, first + 1, ... become these instead; arguments as of append(). In RAM.
  void replace(int64_t first, const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values);
  /// The first `count` chunks, shared; what is appended to it goes to RAM.
  std::unique_ptr<StoredChunkMemory> first_chunks(int64_t count) const;

  /// The layout of its chunks. Throws Error(failed) when there is none.
  const MemoryLayout& layout() const;
  /// The record of a chunk; its layout is layout() where all stores have one.
  const std::byte* record(int64_t chunk) const;

 private:
  /// Chunks [begin, begin + count) are those of `store` from `first` on.
  struct Stretch {
    std::shared_ptr<const ChunkStore> store;
    int64_t first = 0;
    int64_t count = 0;
    int64_t begin = 0;
  };
  const Stretch& stretch_of(int64_t chunk) const;
  void add(std::shared_ptr<const ChunkStore> store, int64_t first, int64_t count);

  NewStore new_store_;
  std::vector<Stretch> stretches_;
  std::shared_ptr<ChunkStore> growing_;  // the last stretch is of it, when there is one
  int64_t count_ = 0;
};

}  // namespace gca::model
