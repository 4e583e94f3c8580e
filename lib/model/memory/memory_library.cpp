#include "lib/model/memory/memory_library.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/model/memory/sealed_records.h"
#include "lib/model/model_fingerprint.h"
#include "lib/model/text_feeder.h"
#include "lib/parallel/agreement.h"

namespace gca::model {
namespace {

constexpr const char* kRemedy = "build the library again";

/// Kind of the checksums of records, in the metadata of the tensors beside them; none in libraries of 0.1.0.
constexpr const char* kRecordChecksum = "gca.record_checksum";
constexpr const char* kXxh3 = "xxh3";

/// A chunk store whose records go to a file, with a checksum each.
struct GrowingPart {
  std::shared_ptr<ChunkStore> store;
  const SealedRecords* records = nullptr;  // the store's own
};

GrowingPart make_part(const MemoryLayout& layout, const std::string& path) {
  const int64_t bytes = layout.record_bytes();
  auto records = std::make_unique<SealedRecords>(make_file_records(path, bytes), bytes, path);
  GrowingPart part;
  part.records = records.get();
  part.store = std::make_shared<ChunkStore>(layout, std::move(records));
  return part;
}

/// The tokens of the remembered chunks of all texts.
std::vector<int32_t> remembered_tokens(std::span<const MemoryText> texts, int64_t chunk_text) {
  std::vector<int32_t> tokens;
  for (const MemoryText& text : texts) {
    const size_t before = tokens.size();
    tokens.resize(before + static_cast<size_t>(text.chunks * chunk_text));
    text.text(0, std::span(tokens).subspan(before));
  }
  return tokens;
}

/// Writes what stands beside the records; returns its checksum.
std::string write_tensors(const std::string& path, const GrowingPart& part, std::span<const int32_t> tokens) {
  const int64_t chunks = part.store->count();
  const MemoryLayout& layout = part.store->layout();
  const at::Tensor landmarks = at::cat(kernels::rows_of(part.store->landmarks(0, chunks)), 1).contiguous();
  const std::vector<SafetensorsTensor> tensors = {
      {"landmarks", "F32", {chunks, layout.d_model}, landmarks.const_data_ptr()},
      {"tokens", "I32", {chunks, layout.chunk_text}, tokens.data()},
      {"checksums", "I64", {chunks}, part.records->checksums().data()}};
  write_safetensors(path, tensors, {{"format", "pt"}, {kRecordChecksum, kXxh3}});
  return SafetensorsFile(path).metadata().at(kSafetensorsChecksum);
}

ChecksumKind record_checksum_kind(const SafetensorsFile& file) {
  const auto kind = file.metadata().find(kRecordChecksum);
  if (kind == file.metadata().end()) return ChecksumKind::v1;
  if (kind->second != kXxh3)
    fail_usage(file.path(), "has checksums of the unknown kind " + kind->second, kRemedy);
  return ChecksumKind::xxh3;
}

const SafetensorsEntry& entry_of(const SafetensorsFile& file, const std::string& name,
                                 const std::string& dtype, const std::vector<int64_t>& shape) {
  const SafetensorsEntry& entry = file.at(name);
  if (entry.dtype != dtype || entry.shape != shape)
    fail_usage(file.path(), name + " has another type or shape than the index.json beside it says", kRemedy);
  return entry;
}

void require_model(const MemoryIndex& index, const std::string& folder, const TextModel& model) {
  const int64_t chunk_size = model.model.config().chunk_size;
  if (index.chunk_size != chunk_size)
    fail_usage(folder,
               fmt::format("has chunks of {} positions, the model of {}", index.chunk_size, chunk_size),
               "give the checkpoint that built it");
  model.require_tokenizer(index.tokenizer, folder);
  if (!is_fingerprint_of(index.model, model.model))
    fail_usage(folder, "was built with another model than " + model.folder,
               "give the checkpoint that built it");
}

}  // namespace

struct MemoryLibrary::Part {
  int64_t first_chunk = 0;
  std::shared_ptr<ChunkStore> store;
  std::unique_ptr<SafetensorsFile> file;
  const std::byte* tokens = nullptr;  // (C, S-1) int32, in the file
};

MemoryIndex build_library(const std::string& folder, const TextModel& model,
                          std::span<const LibraryText> texts, MemoryDtype dtype,
                          const ReadMemoryOptions& reading) {
  require_chunk_memory(model.model.config(), "--checkpoint " + model.folder);
  require_choice_without_vectors(model.model.config(), "--checkpoint " + model.folder,
                                 "what reads a library");
  const bool writes = reading.ranks == nullptr || reading.ranks->rank() == 0;
  const std::string path = writes ? claim_library_folder(folder) : "";
  const ModelConfig& config = model.model.config();
  const int64_t chunk_text = config.chunk_text_size();
  MemoryIndex index;
  index.model = model_fingerprint(model.model);
  index.tokenizer = model.tokenizer.fingerprint();
  index.chunk_size = config.chunk_size;
  std::vector<MemoryText> whole_chunks;
  for (const LibraryText& text : texts) {
    const int64_t chunks = text.tokens / chunk_text;
    index.documents.push_back({text.name, chunks, text.tokens, index.chunk_count()});
    whole_chunks.push_back({text.source, chunks});
  }
  if (index.chunk_count() == 0)
    fail_usage("INPUT", fmt::format("no text is as long as one chunk of {} tokens", chunk_text),
               "give longer texts");

  const MemoryLayout layout = MemoryLayout::of(config, model.model.compute_dtype(), dtype);
  if (!writes) {
    parallel::succeed_together(reading.ranks, [] {});
    StoredChunkMemory nothing(config, model.model.compute_dtype(), {});  // rank 0 has it
    read_memories(model.model, whole_chunks, nothing, reading);
    return index;
  }
  replace_folder_atomically(path, [&](const std::string& aside) {
    GrowingPart part;
    parallel::succeed_together(reading.ranks, [&] { part = make_part(layout, records_path(aside, 0)); });
    StoredChunkMemory memory([&part] { return part.store; });
    read_memories(model.model, whole_chunks, memory, reading);
    const std::vector<int32_t> tokens = remembered_tokens(whole_chunks, chunk_text);
    index.parts.push_back({part.store->count(), layout.record_bytes(), name_of(dtype),
                           write_tensors(tensors_path(aside, 0), part, tokens)});
    write_memory_index(aside + "/index.json", index);
  });
  return index;
}

MemoryLibrary MemoryLibrary::open(const std::string& folder, const TextModel& model) {
  require_chunk_memory(model.model.config(), "--checkpoint " + model.folder);
  require_choice_without_vectors(model.model.config(), "--checkpoint " + model.folder,
                                 "what reads a library");
  MemoryLibrary library;
  library.index_ = read_memory_index(folder);
  const MemoryIndex& index = library.index_;
  require_model(index, folder, model);
  library.config_ = model.model.config();
  library.compute_dtype_ = model.model.compute_dtype();

  int64_t first_chunk = 0;
  for (size_t i = 0; i < index.parts.size(); ++i) {
    const MemoryPart& says = index.parts[i];
    const MemoryLayout layout =
        MemoryLayout::of(library.config_, library.compute_dtype_, memory_dtype_of(says.dtype, folder));
    if (layout.record_bytes() != says.record_bytes)
      fail_usage(folder,
                 fmt::format("has records of {} bytes, this model's have {}", says.record_bytes,
                             layout.record_bytes()),
                 kRemedy);
    auto part = std::make_shared<Part>();
    part->first_chunk = first_chunk;
    part->file = std::make_unique<SafetensorsFile>(tensors_path(folder, i));
    const SafetensorsFile& file = *part->file;
    if (!file.metadata().contains(kSafetensorsChecksum) ||
        file.metadata().at(kSafetensorsChecksum) != says.checksum)
      fail_usage(file.path(), "does not belong to the index.json beside it", kRemedy);
    file.verify();
    const SafetensorsEntry& rows = entry_of(file, "landmarks", "F32", {says.chunks, layout.d_model});
    const SafetensorsEntry& sums = entry_of(file, "checksums", "I64", {says.chunks});
    part->tokens = entry_of(file, "tokens", "I32", {says.chunks, layout.chunk_text}).data;
    at::Tensor landmarks = at::empty({1, says.chunks, layout.d_model}, at::kFloat);
    std::memcpy(landmarks.mutable_data_ptr(), rows.data, rows.size_bytes);
    std::vector<uint64_t> checksums(static_cast<size_t>(says.chunks));
    std::memcpy(checksums.data(), sums.data, sums.size_bytes);
    const std::string records = records_path(folder, i);
    part->store = std::make_shared<ChunkStore>(
        layout,
        std::make_unique<SealedRecords>(open_file_records(records, says.record_bytes), says.record_bytes,
                                        records, std::move(checksums), record_checksum_kind(file)),
        std::move(landmarks));
    library.parts_.push_back(std::move(part));
    first_chunk += says.chunks;
  }
  return library;
}

std::unique_ptr<Past> MemoryLibrary::past(const LanguageModel& model, const MemoryPlace& place) const {
  auto memory = std::make_unique<StoredChunkMemory>(config_, compute_dtype_, place);
  for (const auto& part : parts_) memory->join(part->store, 0, part->store->count());
  std::unique_ptr<Past> past = model.begin(memory->chunk_count() * config_.chunk_size);
  past->keep_memory_in(std::move(memory));
  return past;
}

std::vector<int32_t> MemoryLibrary::tokens(int64_t chunk) const {
  const Part& part =
      **(std::upper_bound(parts_.begin(), parts_.end(), chunk,
                          [](int64_t number, const auto& one) { return number < one->first_chunk; }) -
         1);
  std::vector<int32_t> tokens(static_cast<size_t>(config_.chunk_text_size()));
  const size_t bytes = tokens.size() * sizeof(int32_t);
  std::memcpy(tokens.data(), part.tokens + static_cast<size_t>(chunk - part.first_chunk) * bytes, bytes);
  return tokens;
}

}  // namespace gca::model
