#include "lib/model/memory/memory_index.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/files/atomic_folder.h"
#include "lib/core/files/safetensors_file.h"
#include "lib/data/output_folder.h"
#include "lib/data/sealed_json.h"

namespace gca::model {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 3> kFiles = {"index.json", "part-", "report.json"};
constexpr const char* kRemedy = "build the library again";
constexpr int64_t kMost = int64_t{1} << 40;  // of chunks, tokens, bytes of a record: sums stay far from 2^63

[[noreturn]] void fail_numbers(const std::string& path) {
  fail_usage(path, "holds numbers that no library can have", kRemedy);
}

bool is_count(int64_t number) {
  return number >= 0 && number < kMost;
}

MemoryPart part_of(const nlohmann::json& json) {
  return {json.at("chunks").get<int64_t>(), json.at("record_bytes").get<int64_t>(),
          json.at("dtype").get<std::string>(), json.at("checksum").get<std::string>()};
}

/// Sets first_chunk of every document and looks whether the numbers fit together.
void number_documents(MemoryIndex& index, const std::string& path) {
  int64_t chunks = 0;
  for (const MemoryPart& part : index.parts) {
    if (!is_count(part.chunks) || part.chunks == 0 || !is_count(part.record_bytes) ||
        part.record_bytes == 0 || part.chunks > kMost / part.record_bytes)
      fail_numbers(path);
    chunks += part.chunks;
    if (!is_count(chunks)) fail_numbers(path);
  }
  int64_t first = 0;
  for (MemoryDocument& document : index.documents) {
    if (!is_count(document.chunks) || !is_count(document.tokens) ||
        document.tokens / (index.chunk_size - 1) != document.chunks)
      fail_numbers(path);
    document.first_chunk = first;
    first += document.chunks;
    if (!is_count(first)) fail_numbers(path);
  }
  if (first != chunks || chunks == 0) fail_numbers(path);
}

void require_files(const MemoryIndex& index, const std::string& folder) {
  for (size_t part = 0; part < index.parts.size(); ++part) {
    const std::string path = records_path(folder, part);
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (error) fail_usage(path, "cannot be read: " + error.message(), kRemedy);
    const int64_t expected = index.parts[part].chunks * index.parts[part].record_bytes;
    if (size != expected)
      fail_usage(path, fmt::format("has {} bytes, the index.json beside it says {}", size, expected),
                 kRemedy);
    if (!fs::exists(tensors_path(folder, part)))
      fail_usage(tensors_path(folder, part), "is missing", kRemedy);
  }
}

/// A second name for a file that never changes, or a copy on another disk.
void share_file(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_hard_link(from, to, error);
  if (error) fs::copy_file(from, to, error);
  if (error) fail_run(to, "cannot be written: " + error.message(), "free space on its disk");
}

void require_alike(const MemoryIndex& first, const MemoryIndex& other, const std::string& first_folder,
                   const std::string& folder) {
  if (other.chunk_size != first.chunk_size)
    fail_usage(
        folder,
        fmt::format("has chunks of {} positions, {} of {}", other.chunk_size, first_folder, first.chunk_size),
        "join libraries that one model built");
  if (other.tokenizer != first.tokenizer)
    fail_usage(folder, "has the tokens of another tokenizer than " + first_folder,
               "join libraries that one model built");
  if (other.model.size() != first.model.size())  // a digest of gca 0.1.0, and one of a later version
    fail_usage(folder, "was built by another version of gca than " + first_folder,
               "build the older of the two again");
  if (other.model != first.model)
    fail_usage(folder, "was built with another model than " + first_folder,
               "join libraries that one model built");
}

}  // namespace

int64_t MemoryIndex::chunk_count() const {
  return documents.empty() ? 0 : documents.back().first_chunk + documents.back().chunks;
}

int64_t MemoryIndex::dropped_tokens() const {
  int64_t tokens = 0;
  for (const MemoryDocument& document : documents) tokens += document.tokens;
  return tokens - token_count();
}

int64_t MemoryIndex::record_bytes() const {
  int64_t bytes = 0;
  for (const MemoryPart& part : parts) bytes += part.chunks * part.record_bytes;
  return bytes;
}

const MemoryDocument& MemoryIndex::document_of(int64_t chunk) const {
  // The last that begins there or before: documents without a chunk begin where the next does.
  return *(
      std::upper_bound(documents.begin(), documents.end(), chunk,
                       [](int64_t number, const MemoryDocument& one) { return number < one.first_chunk; }) -
      1);
}

std::string records_path(const std::string& folder, size_t part) {
  return fmt::format("{}/part-{:05}.records", folder, part);
}

std::string tensors_path(const std::string& folder, size_t part) {
  return fmt::format("{}/part-{:05}.safetensors", folder, part);
}

void write_memory_index(const std::string& path, const MemoryIndex& index) {
  nlohmann::json parts = nlohmann::json::array();
  for (const MemoryPart& part : index.parts)
    parts.push_back({{"chunks", part.chunks},
                     {"record_bytes", part.record_bytes},
                     {"dtype", part.dtype},
                     {"checksum", part.checksum}});
  nlohmann::json documents = nlohmann::json::array();
  for (const MemoryDocument& document : index.documents)
    documents.push_back({{"name", document.name}, {"chunks", document.chunks}, {"tokens", document.tokens}});
  data::write_sealed_json(path, {{"format", kLibraryFormat},
                                 {"model", index.model},
                                 {"tokenizer", index.tokenizer},
                                 {"chunk_size", index.chunk_size},
                                 {"parts", parts},
                                 {"documents", documents}});
}

MemoryIndex read_memory_index(const std::string& folder) {
  const std::string path = folder + "/index.json";
  const nlohmann::json json = data::read_sealed_json(path, kLibraryFormat, "gca memory build");
  MemoryIndex index;
  try {
    json.at("model").get_to(index.model);
    json.at("tokenizer").get_to(index.tokenizer);
    json.at("chunk_size").get_to(index.chunk_size);
    for (const nlohmann::json& part : json.at("parts")) index.parts.push_back(part_of(part));
    for (const nlohmann::json& one : json.at("documents"))
      index.documents.push_back({one.at("name").get<std::string>(), one.at("chunks").get<int64_t>(),
                                 one.at("tokens").get<int64_t>()});
  } catch (const nlohmann::json::exception& error) {
    fail_usage(path, std::string("is damaged (") + error.what() + ")", kRemedy);
  }
  if (index.chunk_size < 2 || !is_count(index.chunk_size)) fail_numbers(path);
  number_documents(index, path);
  require_files(index, folder);
  return index;
}

std::string claim_library_folder(const std::string& folder) {
  return data::claim_output_folder(folder, kLibraryFormat, kFiles);
}

MemoryIndex join_libraries(std::span<const std::string> folders, const std::string& output) {
  const std::string path = claim_library_folder(output);
  MemoryIndex joined;
  struct Part {
    std::string folder;
    size_t number = 0;
  };
  std::vector<Part> sources;
  for (const std::string& folder : folders) {
    const MemoryIndex index = read_memory_index(folder);
    if (sources.empty()) {
      joined.model = index.model;
      joined.tokenizer = index.tokenizer;
      joined.chunk_size = index.chunk_size;
    }
    require_alike(joined, index, folders.front(), folder);
    for (size_t part = 0; part < index.parts.size(); ++part) {
      const SafetensorsFile file(tensors_path(folder, part));
      file.verify();
      if (!file.metadata().contains(kSafetensorsChecksum) ||
          file.metadata().at(kSafetensorsChecksum) != index.parts[part].checksum)
        fail_usage(file.path(), "does not belong to the index.json beside it", kRemedy);
      sources.push_back({folder, part});
      joined.parts.push_back(index.parts[part]);
    }
    joined.documents.insert(joined.documents.end(), index.documents.begin(), index.documents.end());
  }
  number_documents(joined, output);
  replace_folder_atomically(path, [&](const std::string& aside) {
    for (size_t part = 0; part < sources.size(); ++part) {
      share_file(records_path(sources[part].folder, sources[part].number), records_path(aside, part));
      share_file(tensors_path(sources[part].folder, sources[part].number), tensors_path(aside, part));
    }
    write_memory_index(aside + "/index.json", joined);
  });
  return joined;
}

}  // namespace gca::model
