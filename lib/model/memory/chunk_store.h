#pragma once
// Finished chunks of one text, in order: landmark embeddings in RAM, to be scored at every retrieval, as
// float32 with an int8 copy that is looked at first; keys and values as records in RAM or in a file, to be
// read when they are retrieved.

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/landmark_topk/landmark_search.h"
#include "lib/model/memory/chunk_records.h"
#include "lib/model/memory/memory_layout.h"

namespace gca::model {

/// Only added to. Not thread-safe, but for reading between two appends.
class ChunkStore {
 public:
  /// `records` may hold chunks already: their landmarks (1, C, d) float32 come with them.
  ChunkStore(MemoryLayout layout, std::unique_ptr<ChunkRecords> records, at::Tensor landmarks = {});

  const MemoryLayout& layout() const { return layout_; }
  int64_t count() const { return records_->count(); }

  /// landmarks (1, c, d), keys and values (1, c, S-1, H_kv, dh) of the compute type.
  void append(const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values);

  /// Landmarks of chunks [first, first + count): dense parts (1, c_i, d) one after the other. Nothing is
  /// copied, and the parts are valid while this store is.
  std::vector<kernels::LandmarkPart> landmarks(int64_t first, int64_t count) const;

  /// The record of a chunk, as layout() says.
  const std::byte* record(int64_t chunk) const { return records_->at(chunk); }
  void prefetch(std::span<const int64_t> chunks) const { records_->prefetch(chunks); }

  int64_t size_bytes() const;

 private:
  MemoryLayout layout_;
  std::unique_ptr<ChunkRecords> records_;
  struct Block {
    at::Tensor rows;                  // (1, capacity, d)
    kernels::CoarseLandmarks coarse;  // of the runs that are whole
    int64_t first = 0;
    int64_t count = 0;

    Block(at::Tensor all_rows, int64_t first_chunk, int64_t chunk_count);
    void add(int64_t chunk_count);
    kernels::LandmarkPart part(int64_t begin, int64_t end) const;
  };
  std::vector<Block> blocks_;
};

/// Where chunk memory is kept: --memory and --memory-dtype.
struct MemoryPlace {
  std::string file = {};                  ///< scratch file; empty: RAM
  std::optional<MemoryDtype> dtype = {};  ///< none: the compute type

  /// "ram" or "file:PATH". Throws Error(usage) naming --memory for anything else.
  static MemoryPlace of(const std::string& memory, const std::string& dtype);
};

/// An empty store.
std::shared_ptr<ChunkStore> make_chunk_store(const ModelConfig& config, at::ScalarType compute_dtype,
                                             const MemoryPlace& place);

}  // namespace gca::model
