// gca memory: libraries of chunk memory built from texts, joined, and told about. Only building needs tensors.

#include <CLI/CLI.hpp>
#include <memory>

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/memory_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/files/folder_lock.h"
#include "lib/core/machine/machine_memory.h"

namespace gca::app {
namespace {

void require_output(const MemoryOptions& options, bool wanted) {
  if (options.output.empty() == wanted)
    fail_usage("--output", wanted ? "is missing" : "is not used by " + options.action,
               wanted ? "name the folder to write" : "leave it out");
}

void run_join(const MemoryOptions& options) {
  require_output(options, true);
  JsonReport report = begin_report("memory", options.common);
  const FolderLock only_writer(options.output);
  const model::MemoryIndex index = model::join_libraries(options.inputs, options.output);
  report.config["action"] = options.action;
  report.result = library_to_json(index);
  finish_report(report, options.common, options.output, library_table(index));
}

void run_info(const MemoryOptions& options) {
  require_output(options, false);
  if (options.inputs.size() > 1)
    fail_usage(options.inputs[1], "is one library too many", "info describes one at a time");
  JsonReport report = begin_report("memory", options.common);
  const model::MemoryIndex index = model::read_memory_index(options.inputs.front());
  report.config["action"] = options.action;
  report.result = library_to_json(index);
  finish_report(report, options.common, "", library_table(index));
}

}  // namespace

nlohmann::ordered_json library_to_json(const model::MemoryIndex& index) {
  nlohmann::ordered_json result;
  result["chunk_size"] = index.chunk_size;
  result["chunks"] = index.chunk_count();
  result["tokens"] = index.token_count();
  result["dropped_tokens"] = index.dropped_tokens();
  result["record_bytes"] = index.record_bytes();
  result["model"] = index.model;
  result["tokenizer"] = index.tokenizer;
  result["parts"] = nlohmann::ordered_json::array();
  for (const model::MemoryPart& part : index.parts)
    result["parts"].push_back(
        {{"chunks", part.chunks}, {"dtype", part.dtype}, {"bytes_per_chunk", part.record_bytes}});
  result["documents"] = nlohmann::ordered_json::array();
  for (const model::MemoryDocument& document : index.documents)
    result["documents"].push_back({{"name", document.name},
                                   {"first_chunk", document.first_chunk},
                                   {"chunks", document.chunks},
                                   {"tokens", document.tokens}});
  return result;
}

std::string library_table(const model::MemoryIndex& index) {
  std::string table = fmt::format("{:>10} {:>10} {:>12}  document\n", "from chunk", "chunks", "tokens");
  for (const model::MemoryDocument& document : index.documents)
    table += fmt::format("{:>10} {:>10} {:>12}  {}\n", document.first_chunk, document.chunks, document.tokens,
                         document.name);
  std::string dtypes;
  for (const model::MemoryPart& part : index.parts)
    if (dtypes.find(part.dtype) == std::string::npos) dtypes += (dtypes.empty() ? "" : ", ") + part.dtype;
  table += fmt::format("\n{}, {} of {}, {} ({} left out at their ends), {} of {} on disk\n",
                       counted(static_cast<int64_t>(index.documents.size()), "document"),
                       counted(index.chunk_count(), "chunk"), index.chunk_size,
                       counted(index.token_count(), "token"), index.dropped_tokens(),
                       memory_text(static_cast<double>(index.record_bytes())), dtypes);
  return table;
}

void add_memory_command(CLI::App& app) {
  auto options = std::make_shared<MemoryOptions>();
  CLI::App* command =
      app.add_subcommand("memory", "Read texts once into a library that any prompt retrieves from");
  command
      ->add_option(
          "ACTION", options->action,
          "build: read texts into a library; join: combine libraries into one; info: list what a library "
          "holds")
      ->required()
      ->check(CLI::IsMember({"build", "join", "info"}))
      ->type_name("NAME");
  command
      ->add_option(
          "INPUT", options->inputs,
          "build: text files, folders of text files, - for standard input, or folders written by gca "
          "tokenize; join, info: libraries")
      ->required();
  command->add_option("--output", options->output, "Folder to write")->type_name("DIR");
  command
      ->add_option("--checkpoint,--model", options->checkpoint.folder,
                   "build: folder written by gca pretrain, the model that reads the texts")
      ->type_name("DIR");
  command
      ->add_option(
          "--memory-dtype", options->memory_dtype,
          "build: type in which keys and values are stored, bf16, fp32 or int8 (default: the type of "
          "--dtype)")
      ->check(CLI::IsMember({"bf16", "fp32", "int8"}))
      ->type_name("NAME");
  add_size_option(
      *command, "--segment", options->segment_positions,
      "build: positions per segment, rounded up to whole chunks (default: chosen from the available "
      "memory)");
  add_tensor_options(*command, options->checkpoint.tensor);
  add_source_options(*command, options->source);
  add_common_options(*command, options->common);
  add_timeout_option(*command, options->timeout_seconds);
  command->callback([command, options] {
    if (options->action != "build") {
      refuse_source_options(*command, "for " + options->action);
      refuse_ranks(options->action);
    }
    if (options->action == "join") return run_join(*options);
    if (options->action == "info") return run_info(*options);
    require_output(*options, true);
    if (options->checkpoint.folder.empty())
      fail_usage("--checkpoint", "is missing", "give the model that reads the texts");
    run_memory_build(*options);
  });
}

}  // namespace gca::app
