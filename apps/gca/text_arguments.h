#pragma once
// What eval, generate and inspect-retrieval have in common on the command line: the checkpoint and the
// prompt.

#include <CLI/App.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/gca/common_options.h"
#include "lib/model/text_model.h"

namespace gca {

/// --checkpoint, --device, --dtype.
struct CheckpointOptions {
  std::string folder;
  TensorOptions tensor;
};

void add_checkpoint_options(CLI::App& command, CheckpointOptions& options);

/// Sets the threads of the process and opens the model.
TextModel open_checkpoint(const CheckpointOptions& options, const CommonOptions& common);

/// What a report says of the model it was made with.
nlohmann::ordered_json checkpoint_config(const CheckpointOptions& options, const TextModel& model);

/// --prompt, --prompt-file.
struct PromptOptions {
  std::string text;
  std::string file;
};

void add_prompt_options(CLI::App& command, PromptOptions& options);

/// The prompt's bytes, encoded. Throws Error(usage) when there is none, both were given, or it is empty.
std::vector<int32_t> read_prompt(const PromptOptions& options, const Tokenizer& tokenizer, int threads);

}  // namespace gca
