#pragma once
// What the command line of gca memory says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/options/text_arguments.h"
#include "lib/model/memory/memory_index.h"

namespace gca::app {

struct MemoryOptions {
  CommonOptions common;
  CheckpointOptions checkpoint;
  std::string action;  // "build", "join", "info"
  std::vector<std::string> inputs;
  text::SourceOptions source;
  std::string output;
  std::string memory_dtype;
  int64_t segment_positions = 0;
  int timeout_seconds = kSharingTimeoutSeconds;
};

/// `result` of a report on a library, and its table.
nlohmann::ordered_json library_to_json(const model::MemoryIndex& index);
std::string library_table(const model::MemoryIndex& index);

}  // namespace gca::app
