#pragma once
// A trace of retrieval as text for people: each chunk beside what it read.

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "lib/inspect/retrieval_trace.h"

namespace gca {

struct RetrievalTableOptions {
  int64_t width = 100;  ///< columns of the terminal
  bool colour = false;
};

/// `text_of(chunk)`: the bytes of any chunk of the text. The table of `readings`, a paragraph a chunk.
std::string retrieval_table(std::span<const ChunkReading> readings,
                            const std::function<std::string(int64_t chunk)>& text_of,
                            const RetrievalTableOptions& options);

}  // namespace gca
