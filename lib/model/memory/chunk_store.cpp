#include "lib/model/memory/chunk_store.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "lib/core/error.h"

namespace gca::model {
namespace {

constexpr int64_t kBlockChunks = 4096;  // landmarks of a block

}  // namespace

ChunkStore::ChunkStore(MemoryLayout layout, std::unique_ptr<ChunkRecords> records, at::Tensor landmarks)
    : layout_(layout), records_(std::move(records)) {
  const int64_t held = landmarks.defined() ? landmarks.size(1) : 0;
  TORCH_CHECK(held == records_->count(), "chunk store: ", held, " landmarks for ", records_->count(),
              " records");
  if (held > 0) blocks_.emplace_back(std::move(landmarks), 0, held);
}

ChunkStore::Block::Block(at::Tensor all_rows, int64_t first_chunk, int64_t chunk_count)
    : rows(std::move(all_rows)), coarse(rows.size(2), rows.size(1)), first(first_chunk) {
  add(chunk_count);
}

/// The next rows have been written.
void ChunkStore::Block::add(int64_t chunk_count) {
  count += chunk_count;
  const int64_t copied = coarse.run_count() * kernels::kCoarseRun;
  coarse.append(rows.const_data_ptr<float>() + copied * rows.size(2), (count - copied) / kernels::kCoarseRun);
}

/// Rows [begin, end) with those runs of the copy that lie within.
kernels::LandmarkPart ChunkStore::Block::part(int64_t begin, int64_t end) const {
  const int64_t first_run = (begin + kernels::kCoarseRun - 1) / kernels::kCoarseRun;
  const int64_t end_run = std::min(end / kernels::kCoarseRun, coarse.run_count());
  kernels::LandmarkPart part{rows.narrow(1, begin, end - begin)};
  if (first_run < end_run) {
    part.coarse = coarse.runs(first_run, end_run - first_run);
    part.coarse_begin = first_run * kernels::kCoarseRun - begin;
  }
  return part;
}

void ChunkStore::append(const at::Tensor& landmarks, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t c = landmarks.size(1);
  TORCH_CHECK(landmarks.size(0) == 1, "chunk store: one text only");
  int64_t first = count();
  for (int64_t done = 0; done < c;) {
    if (blocks_.empty() || blocks_.back().count == blocks_.back().rows.size(1))
      blocks_.emplace_back(at::empty({1, kBlockChunks, layout_.d_model}, at::kFloat), first, 0);
    Block& block = blocks_.back();
    const int64_t n = std::min(c - done, block.rows.size(1) - block.count);
    block.rows.narrow(1, block.count, n).copy_(landmarks.narrow(1, done, n));
    block.add(n);
    done += n;
    first += n;
  }

  const at::Tensor dense_keys = keys.to(layout_.compute_dtype).contiguous();
  const at::Tensor dense_values = values.to(layout_.compute_dtype).contiguous();
  const auto* key_data = static_cast<const std::byte*>(dense_keys.const_data_ptr());
  const auto* value_data = static_cast<const std::byte*>(dense_values.const_data_ptr());
  const int64_t chunk_bytes = layout_.element_count() * static_cast<int64_t>(dense_keys.element_size());
  const int64_t record_bytes = layout_.record_bytes();
  std::vector<std::byte> encoded(static_cast<size_t>(c * record_bytes));
  at::parallel_for(0, c, 8, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk)
      layout_.encode(key_data + chunk * chunk_bytes, value_data + chunk * chunk_bytes,
                     encoded.data() + chunk * record_bytes);
  });
  records_->append(encoded);
}

std::vector<kernels::LandmarkPart> ChunkStore::landmarks(int64_t first, int64_t count) const {
  std::vector<kernels::LandmarkPart> parts;
  for (const Block& block : blocks_) {
    const int64_t from = std::max(first, block.first);
    const int64_t to = std::min(first + count, block.first + block.count);
    if (from < to) parts.push_back(block.part(from - block.first, to - block.first));
  }
  return parts;
}

int64_t ChunkStore::size_bytes() const {
  int64_t bytes = count() * layout_.record_bytes();
  for (const Block& block : blocks_)
    bytes += static_cast<int64_t>(block.rows.nbytes()) + block.coarse.size_bytes();
  return bytes;
}

MemoryPlace MemoryPlace::of(const std::string& memory, const std::string& dtype) {
  MemoryPlace place;
  if (memory.starts_with("file:") && memory.size() > 5)
    place.file = memory.substr(5);
  else if (memory != "ram")
    fail_usage("--memory " + memory, "is not a place for chunk memory", "use ram or file:PATH");
  if (!dtype.empty()) place.dtype = memory_dtype_of(dtype, "--memory-dtype");
  return place;
}

std::shared_ptr<ChunkStore> make_chunk_store(const ModelConfig& config, at::ScalarType compute_dtype,
                                             const MemoryPlace& place) {
  const MemoryLayout layout =
      MemoryLayout::of(config, compute_dtype, place.dtype ? *place.dtype : lossless_dtype(compute_dtype));
  const int64_t bytes = layout.record_bytes();
  return std::make_shared<ChunkStore>(
      layout, place.file.empty() ? make_ram_records(bytes) : make_scratch_file_records(place.file, bytes));
}

}  // namespace gca::model
