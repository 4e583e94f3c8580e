#include "lib/model/memory/stored_chunk_memory.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lib/core/error.h"

namespace gca::model {
namespace {

/// A store of the layout of `like`, in RAM.
StoredChunkMemory::NewStore ram_store_like(const MemoryLayout& layout) {
  return [layout] { return std::make_shared<ChunkStore>(layout, make_ram_records(layout.record_bytes())); };
}

}  // namespace

StoredChunkMemory::StoredChunkMemory(const ModelConfig& config, at::ScalarType compute_dtype,
                                     const MemoryPlace& place)
    : new_store_([config, compute_dtype, place] { return make_chunk_store(config, compute_dtype, place); }) {}

void StoredChunkMemory::add(std::shared_ptr<const ChunkStore> store, int64_t first, int64_t count) {
  if (count == 0) return;
  if (!stretches_.empty() && stretches_.back().store == store &&
      stretches_.back().first + stretches_.back().count == first)
    stretches_.back().count += count;
  else
    stretches_.push_back({std::move(store), first, count, count_});
  count_ += count;
}

void StoredChunkMemory::append(const at::Tensor& landmarks, const at::Tensor& keys,
                               const at::Tensor& values) {
  if (!growing_) growing_ = new_store_();
  const int64_t before = growing_->count();
  growing_->append(landmarks, keys, values);
  add(growing_, before, growing_->count() - before);
}

void StoredChunkMemory::join(std::shared_ptr<const ChunkStore> store, int64_t first, int64_t count) {
  add(std::move(store), first, count);
}

void StoredChunkMemory::join(const StoredChunkMemory& other) {
  for (const Stretch& stretch : other.stretches_) add(stretch.store, stretch.first, stretch.count);
}

const StoredChunkMemory::Stretch& StoredChunkMemory::stretch_of(int64_t chunk) const {
  TORCH_CHECK(chunk >= 0 && chunk < count_, "chunk memory: chunk ", chunk, " of ", count_);
  return *(std::upper_bound(stretches_.begin(), stretches_.end(), chunk,
                            [](int64_t number, const Stretch& one) { return number < one.begin; }) -
           1);
}

std::vector<kernels::LandmarkPart> StoredChunkMemory::landmark_parts() const {
  std::vector<kernels::LandmarkPart> parts;
  for (const Stretch& stretch : stretches_)
    for (kernels::LandmarkPart& part : stretch.store->landmarks(stretch.first, stretch.count))
      parts.push_back(std::move(part));
  return parts;
}

ChunkView StoredChunkMemory::read(const at::Tensor& idx) const {
  TORCH_CHECK(idx.size(0) == 1, "chunk memory: one text only");
  const at::Tensor dense = idx.contiguous();
  const auto* wanted = dense.const_data_ptr<int32_t>();
  std::vector<int64_t> chunks(wanted, wanted + dense.numel());
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  if (!chunks.empty() && chunks.front() < 0) chunks.erase(chunks.begin());

  // Every record is asked for before the first is read.
  for (const int64_t chunk : chunks) {
    const Stretch& stretch = stretch_of(chunk);
    const int64_t number = stretch.first + chunk - stretch.begin;
    stretch.store->prefetch({&number, 1});
  }

  const MemoryLayout& layout = this->layout();
  const auto count = static_cast<int64_t>(chunks.size());
  ChunkView view;
  const std::vector<int64_t> shape = {1, count, layout.chunk_text, layout.n_kv_heads, layout.head_dim};
  view.keys = at::empty(shape, layout.compute_dtype);
  view.values = at::empty(shape, layout.compute_dtype);
  auto* keys = static_cast<std::byte*>(view.keys.mutable_data_ptr());
  auto* values = static_cast<std::byte*>(view.values.mutable_data_ptr());
  const int64_t chunk_bytes = layout.element_count() * static_cast<int64_t>(view.keys.element_size());
  at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Stretch& stretch = stretch_of(chunks[static_cast<size_t>(i)]);
      const int64_t number = stretch.first + chunks[static_cast<size_t>(i)] - stretch.begin;
      stretch.store->layout().decode(stretch.store->record(number), keys + i * chunk_bytes,
                                     values + i * chunk_bytes);
    }
  });
  view.idx = at::empty(dense.sizes(), at::kInt);
  auto* places = view.idx.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < dense.numel(); ++i)
    places[i] = wanted[i] < 0
                    ? -1
                    : static_cast<int32_t>(std::lower_bound(chunks.begin(), chunks.end(), wanted[i]) -
                                           chunks.begin());
  return view;
}

void StoredChunkMemory::replace(int64_t first, const at::Tensor& landmarks, const at::Tensor& keys,
                                const at::Tensor& values) {
  const int64_t end = first + landmarks.size(1);
  TORCH_CHECK(first >= 0 && end <= count_, "chunk memory: chunks ", first, " to ", end, " of ", count_);
  const std::shared_ptr<ChunkStore> patch = ram_store_like(layout())();
  patch->append(landmarks, keys, values);
  const std::vector<Stretch> before = std::exchange(stretches_, {});
  count_ = 0;
  for (const Stretch& stretch : before) {
    const int64_t stretch_end = stretch.begin + stretch.count;
    if (stretch.begin < first)
      add(stretch.store, stretch.first, std::min(stretch_end, first) - stretch.begin);
    if (stretch.begin <= first && first < stretch_end) add(patch, 0, end - first);
    if (stretch_end > end) {
      const int64_t from = std::max(stretch.begin, end);
      add(stretch.store, stretch.first + from - stretch.begin, stretch_end - from);
    }
  }
}

std::unique_ptr<StoredChunkMemory> StoredChunkMemory::first_chunks(int64_t count) const {
  TORCH_CHECK(count <= count_, "chunk memory: ", count, " chunks of ", count_);
  auto memory =
      std::make_unique<StoredChunkMemory>(stretches_.empty() ? new_store_ : ram_store_like(layout()));
  for (const Stretch& stretch : stretches_)
    if (stretch.begin < count)
      memory->add(stretch.store, stretch.first, std::min(stretch.count, count - stretch.begin));
  return memory;
}

std::unique_ptr<ChunkMemory> StoredChunkMemory::clone() const {
  return first_chunks(count_);
}

int64_t StoredChunkMemory::size_bytes() const {
  std::set<const ChunkStore*> stores;
  for (const Stretch& stretch : stretches_) stores.insert(stretch.store.get());
  int64_t bytes = 0;
  for (const ChunkStore* store : stores) bytes += store->size_bytes();
  return bytes;
}

const MemoryLayout& StoredChunkMemory::layout() const {
  TORCH_CHECK(!stretches_.empty(), "chunk memory: holds nothing yet");
  return stretches_.front().store->layout();
}

const std::byte* StoredChunkMemory::record(int64_t chunk) const {
  const Stretch& stretch = stretch_of(chunk);
  return stretch.store->record(stretch.first + chunk - stretch.begin);
}

}  // namespace gca::model
