#pragma once
// What the command line of gca memory says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/common_options.h"
#include "apps/gca/text_arguments.h"
#include "lib/model/memory/memory_index.h"

namespace gca {

struct MemoryOptions {
  CommonOptions common;
  CheckpointOptions checkpoint;
  std::string action;  // "build", "join", "info"
  std::vector<std::string> inputs;
  SourceOptions source;
  std::string output;
  std::string memory_dtype;
  int64_t segment_positions = 0;
};

/// `result` of a report on a library, and its table.
nlohmann::ordered_json library_to_json(const MemoryIndex& index);
std::string library_table(const MemoryIndex& index);

}  // namespace gca
