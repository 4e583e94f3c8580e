#pragma once
// What the command line of gca inspect-retrieval says.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"
#include "apps/gca/options/text_arguments.h"

namespace gca::app {

struct InspectOptions {
  CommonOptions common;
  CheckpointOptions checkpoint;
  PromptOptions prompt;
  int64_t chunk = -1;  // all
  std::string load_memory;
  std::string html_path;
  bool ascii = false;
};

}  // namespace gca::app
