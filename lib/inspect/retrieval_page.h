#pragma once
// A text and what its chunks read as one page for a browser: no network, no other file.

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lib/inspect/retrieval_trace.h"

namespace gca::inspect {

/// A chunk from before the text that one of its chunks read.
struct PageChunk {
  ChunkPlace place;
  std::string text;
};

struct RetrievalPageInput {
  std::string title;
  nlohmann::ordered_json model;  ///< shown as it is
  std::span<const ChunkReading> readings;
  std::vector<std::string> readers;            ///< reader_names()
  std::vector<std::string> pieces;             ///< the bytes of each token of the text
  std::span<const float> losses;               ///< of each token, in nats
  std::span<const float> losses_reading_none;  ///< the same with nothing read
  std::map<int64_t, PageChunk> before;         ///< all chunks below 0 that were read
};

/// The page. The matrix of who read whom is drawn on a canvas and binned where chunks outnumber pixels.
std::string retrieval_page(const RetrievalPageInput& input);

}  // namespace gca::inspect
