#pragma once
// A library of chunk memory (memory_index.h) made and opened.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/model/memory/memory_index.h"
#include "lib/model/memory/memory_reader.h"
#include "lib/model/text_model.h"

namespace gca::model {

struct LibraryText {
  std::string name;
  int64_t tokens = 0;
  TextSource source;
};

/// Reads every text as if it stood alone and writes the library `folder`, aside and put in place when it is
/// whole. Keys and values go to disk as they come; landmarks and tokens are held in RAM. Throws Error(usage)
/// when `folder` may not be replaced, when the model retrieves nothing, or when no text fills a chunk. Ranks that share the
/// reading (ReadMemoryOptions::ranks) all call it, and rank 0 writes.
MemoryIndex build_library(const std::string& folder, const TextModel& model,
                          std::span<const LibraryText> texts, MemoryDtype dtype,
                          const ReadMemoryOptions& reading);

/// Open for reading: landmarks in RAM, keys and values in mapped files.
class MemoryLibrary {
 public:
  /// Throws Error(usage) when a file is missing or damaged, or when another model built the library. A
  /// damaged record is found when it is read.
  static MemoryLibrary open(const std::string& folder, const TextModel& model);

  const MemoryIndex& index() const { return index_; }

  /// A past after all documents and before the first token of a text of its own: upper layers and windows
  /// begin there, all documents can be retrieved from. What is appended is kept at `place`. `model` is the
  /// one that the library was opened with.
  std::unique_ptr<Past> past(const LanguageModel& model, const MemoryPlace& place) const;

  /// The S-1 text tokens of a chunk.
  std::vector<int32_t> tokens(int64_t chunk) const;

 private:
  struct Part;
  MemoryLibrary() = default;

  MemoryIndex index_;
  ModelConfig config_;
  at::ScalarType compute_dtype_ = at::kFloat;
  std::vector<std::shared_ptr<const Part>> parts_;
};

}  // namespace gca::model
