#pragma once
// What eval, generate and inspect-retrieval have in common on the command line: the checkpoint and the prompt.

#include <CLI/App.hpp>
#include <string>

#include "apps/gca/common_options.h"

namespace gca {

/// --checkpoint, --device, --dtype.
struct CheckpointOptions {
  std::string folder;
  TensorOptions tensor;
};

void add_checkpoint_options(CLI::App& command, CheckpointOptions& options);

/// --prompt, --prompt-file.
struct PromptOptions {
  std::string text;
  std::string file;
};

void add_prompt_options(CLI::App& command, PromptOptions& options);

}  // namespace gca
