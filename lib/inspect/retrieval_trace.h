#pragma once
// What each chunk of a text read: recorded while the text is run through the model.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/model/language_model.h"

namespace gca::inspect {

struct RetrievedChunk {
  int64_t chunk =
      0;  ///< of the text; those before the text (a library) are numbered backwards: -1 is the last
  double score = 0;   ///< r, before the softmax
  double weight = 0;  ///< w, softmax over the chosen
};

/// Where a chunk that lies before the text is from.
struct ChunkPlace {
  std::string document;
  int64_t chunk = 0;  ///< of the document
};

/// One chunk of the text and what its tokens read: the choice made at the landmark of the chunk before.
struct ChunkReading {
  int64_t chunk = 0;
  int64_t first_token = 0;  ///< number of its first text token
  int64_t tokens = 0;       ///< text tokens; fewer than S-1 in an unfinished last chunk
  std::vector<std::vector<RetrievedChunk>>
      groups;  ///< per group, by falling weight; empty lists for chunks 0 and 1
};

/// Runs `text` after `past`, which ends with a chunk (null: a new one), and returns all its chunks; what a
/// last landmark of the past chose for the first of them is not recorded. `segment_positions` as in TextFeeder.
/// Throws Error(usage) for a model without chunk memory.
std::vector<ChunkReading> trace_retrieval(const model::LanguageModel& model, std::span<const int32_t> text,
                                          int64_t segment_positions = 0,
                                          std::unique_ptr<model::Past> past = nullptr);

}  // namespace gca::inspect
