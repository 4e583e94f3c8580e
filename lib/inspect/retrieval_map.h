#pragma once
// Who read whom, as a picture of characters.

#include <cstdint>
#include <span>
#include <string>

#include "lib/inspect/retrieval_trace.h"

namespace gca::inspect {

/// A square of at most `width` columns for one reader, called `name`: a row a reading chunk, a column a read one, the largest
/// weight of a cell as one of " .:-=+*#%@"; more chunks than columns share cells. What was read before the
/// text began has no column. The half that lies in the future is left blank.
std::string retrieval_map(std::span<const ChunkReading> readings, size_t reader, const std::string& name,
                          int64_t width);

}  // namespace gca::inspect
