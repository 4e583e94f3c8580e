#pragma once
// A library of chunk memory: texts read once, retrieved from by any prompt. What its folder says of itself,
// and libraries joined. Knows no LibTorch.
//
//   index.json              format "gca.library/1", sealed: the model, the tokenizer, parts and documents
//   part-N.records          keys and values of a part's chunks, one record each (memory_layout.h)
//   part-N.safetensors      "landmarks" F32 (C, d), "tokens" I32 (C, S-1), "checksums" I64 (C) of the records
//
// Files are never changed once they are in place, so joined libraries may share them.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gca::model {

inline constexpr const char* kLibraryFormat = "gca.library/1";

struct MemoryDocument {
  std::string name;
  int64_t chunks = 0;
  int64_t tokens = 0;       ///< of the text; those after the last whole chunk are not remembered
  int64_t first_chunk = 0;  ///< in the library
};

struct MemoryPart {
  int64_t chunks = 0;
  int64_t record_bytes = 0;
  std::string dtype;     ///< of the records: "fp32", "bf16", "int8"
  std::string checksum;  ///< of the safetensors file, as it says itself
};

struct MemoryIndex {
  std::string model;      ///< model_fingerprint()
  std::string tokenizer;  ///< its fingerprint
  int64_t chunk_size = 0;
  std::vector<MemoryPart> parts;
  std::vector<MemoryDocument> documents;

  int64_t chunk_count() const;
  /// Text tokens that are remembered.
  int64_t token_count() const { return chunk_count() * (chunk_size - 1); }
  /// Text tokens behind the last whole chunk of each document.
  int64_t dropped_tokens() const;
  int64_t record_bytes() const;
  /// The document of a chunk of the library.
  const MemoryDocument& document_of(int64_t chunk) const;
};

std::string records_path(const std::string& folder, size_t part);
std::string tensors_path(const std::string& folder, size_t part);

/// Sealed, aside and renamed.
void write_memory_index(const std::string& path, const MemoryIndex& index);

/// index.json of `folder`. Throws Error(usage) when it is missing, damaged, or says what no library can, and
/// when a file of the library is missing or of another size.
MemoryIndex read_memory_index(const std::string& folder);

/// The folder to write, as claim_output_folder() gives it. Throws Error(usage) when it may not be replaced.
std::string claim_library_folder(const std::string& folder);

/// Writes the documents of `folders`, one library after the other, as the library `output`. Files are linked
/// where the file system can, copied elsewhere. Throws Error(usage) when a library is damaged (records are
/// checked when they are read), or when two are of different models, tokenizers or chunk sizes.
MemoryIndex join_libraries(std::span<const std::string> folders, const std::string& output);

}  // namespace gca::model
