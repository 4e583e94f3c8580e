#pragma once
// A trace of retrieval as text for people: each chunk beside what it read.

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "lib/inspect/retrieval_trace.h"

namespace gca::inspect {

struct RetrievalTableOptions {
  int64_t width = 100;  ///< columns of the terminal
  bool colour = false;
  std::function<ChunkPlace(int64_t chunk)> place_of = {};  ///< of chunks below 0
};

/// `text_of(chunk)`: the bytes of any chunk that is named. The table of `readings`, a paragraph a chunk, what
/// each of the `readers` (reader_names()) read; a chunk from before the text is identified by its number in
/// its document and the document's name.
std::string retrieval_table(std::span<const ChunkReading> readings, std::span<const std::string> readers,
                            const std::function<std::string(int64_t chunk)>& text_of,
                            const RetrievalTableOptions& options);

}  // namespace gca::inspect
