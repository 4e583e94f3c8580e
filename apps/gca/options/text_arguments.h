#pragma once
// What subcommands that read text have in common on the command line: the checkpoint, the prompt, and how
// documents are read.

#include <CLI/App.hpp>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "apps/gca/options/common_options.h"
#include "lib/text/sources/document_source.h"

namespace gca::app {

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

/// --input-format, --text-key, --skip-bad, --invalid-utf8: how the documents of INPUT... are read.
void add_source_options(CLI::App& command, text::SourceOptions& options);
/// Throws Error(usage) where one of them was given: "FLAG: has no meaning `where`".
void refuse_source_options(const CLI::App& command, const std::string& where);
/// What they say, for `config` of a report.
nlohmann::ordered_json source_config(const text::SourceOptions& options);

/// The files of INPUT.... Throws Error(usage) on a missing one, and on a folder that another subcommand wrote
/// and that holds no text; where several ranks read them, also on standard input and pipes.
text::InputFiles list_texts(std::span<const std::string> inputs);

/// "3 broken lines of JSON skipped, the first ..." and "2 sequences of invalid UTF-8 replaced", a line each;
/// empty where there were none.
std::string source_remarks(std::span<const text::SourceCounts> counts);

}  // namespace gca::app
