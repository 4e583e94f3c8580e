#pragma once
// What each chunk of a text read: recorded while the text is run through the model.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/model/backbone_kinds.h"
#include "lib/model/language_model.h"

namespace gca::inspect {

struct RetrievedChunk {
  /// Of the text; those before the text (a library) are numbered backwards: -1 is the last.
  int64_t chunk = 0;
  double score = 0;   ///< r, before the softmax; 0 where positions choose
  double weight = 0;  ///< w, softmax over the chosen; where positions choose, its mean part of their softmax
  int64_t chosen_by = 0;               ///< where positions choose: tokens that read of it
  std::vector<double> of_tokens = {};  ///< where positions choose positions: `weight` by its tokens
};

/// Where a chunk that lies before the text is from.
struct ChunkPlace {
  std::string document;
  int64_t chunk = 0;  ///< of the document
};

/// One chunk of the text and what its tokens read: where landmarks choose, by the choice made at the landmark
/// of the chunk before. A model without landmarks has chunks of chunk_size tokens.
struct ChunkReading {
  int64_t chunk = 0;
  int64_t first_token = 0;  ///< number of its first text token
  int64_t tokens = 0;       ///< text tokens; fewer than S-1 in an unfinished last chunk
  /// Per reader (BackboneKind::readers), by falling weight; where positions choose, the kMostShown heaviest.
  std::vector<std::vector<RetrievedChunk>> readers;
};

constexpr int64_t kMostShown = 8;

/// Text tokens of a chunk as a trace cuts it.
int64_t traced_chunk_tokens(const model::ModelConfig& config);

/// Throws Error(usage) naming `where` unless the model chooses what it reads.
void require_choice(const model::ModelConfig& config, const std::string& where);

/// "group 0" of retrieval groups, "layer 2, head 1" of heads that choose: a name for each reader.
std::vector<std::string> reader_names(const model::ModelConfig& config);

/// Runs `text` after `past`, which ends with a chunk (null: a new one), and returns all its chunks; what a
/// last landmark of the past chose for the first of them is not recorded. `segment_positions` as in TextFeeder.
/// Throws Error(usage) for a model that chooses nothing.
std::vector<ChunkReading> trace_retrieval(const model::LanguageModel& model, std::span<const int32_t> text,
                                          int64_t segment_positions = 0,
                                          std::unique_ptr<model::Past> past = nullptr);

}  // namespace gca::inspect
