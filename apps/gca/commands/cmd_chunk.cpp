// gca chunk: token shards to training sequences.

#include <CLI/CLI.hpp>
#include <memory>

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/options/common_options.h"
#include "lib/core/files/folder_lock.h"
#include "lib/data/sequence_index.h"

namespace gca::app {
namespace {

struct ChunkOptions {
  CommonOptions common;
  std::string tokens;
  std::string output;
  data::ChunkSettings settings;
};

nlohmann::ordered_json counts_to_json(const data::SplitCounts& counts) {
  return {{"documents", counts.documents},
          {"sequences", counts.sequences},
          {"chunks", counts.chunks},
          {"tokens", counts.tokens},
          {"dropped_tokens", counts.dropped_tokens}};
}

data::SplitCounts sum(const data::SplitCounts& a, const data::SplitCounts& b) {
  return {a.documents + b.documents, a.sequences + b.sequences, a.chunks + b.chunks, a.tokens + b.tokens,
          a.dropped_tokens + b.dropped_tokens};
}

std::string table_of(const data::ChunkSummary& summary) {
  std::string table = fmt::format("{:6} {:>10} {:>10} {:>10} {:>12} {:>8}\n", "split", "documents",
                                  "sequences", "chunks", "tokens", "dropped");
  for (const auto& [name, counts] : {std::pair{"train", summary.train}, std::pair{"valid", summary.valid}})
    table += fmt::format("{:6} {:>10} {:>10} {:>10} {:>12} {:>8}\n", name, counts.documents, counts.sequences,
                         counts.chunks, counts.tokens, counts.dropped_tokens);
  return table;
}

void run_chunk(ChunkOptions& options) {
  options.settings.seed = options.common.seed;
  JsonReport report = begin_report("chunk", options.common);
  const data::ChunkSettings& settings = options.settings;
  report.config = {{"tokens", options.tokens},
                   {"output", options.output},
                   {"chunk_size", settings.chunk_size},
                   {"context", settings.context},
                   {"valid_fraction", settings.valid_fraction},
                   {"join_documents", settings.join_documents}};
  const FolderLock only_writer(options.output);
  const data::TokenStore tokens = data::TokenStore::open(options.tokens);
  const data::ChunkSummary summary = data::write_sequence_index(tokens, options.output, settings);
  report.result = counts_to_json(sum(summary.train, summary.valid));
  report.result["end_tokens"] = tokens.end_token() >= 0;
  report.result["train"] = counts_to_json(summary.train);
  report.result["valid"] = counts_to_json(summary.valid);
  finish_report(report, options.common, options.output, table_of(summary));
}

}  // namespace

void add_chunk_command(CLI::App& app) {
  auto options = std::make_shared<ChunkOptions>();
  CLI::App* command = app.add_subcommand("chunk", "Cut token shards into training sequences");
  command->add_option("--tokens", options->tokens, "Folder written by gca tokenize")
      ->required()
      ->type_name("DIR");
  command->add_option("--output", options->output, "Folder to write")->required()->type_name("DIR");
  add_size_option(*command, "--chunk-size", options->settings.chunk_size,
                  with_default("Positions per chunk, including its landmark; 0: no landmarks",
                               options->settings.chunk_size));
  add_size_option(*command, "--context", options->settings.context,
                  with_default("Text tokens per sequence", options->settings.context));
  command
      ->add_option("--valid-fraction", options->settings.valid_fraction,
                   with_default("Fraction of the tokens to hold out for validation, as whole documents",
                                options->settings.valid_fraction))
      ->type_name("F");
  command->add_flag("--join-documents", options->settings.join_documents,
                    "Let a sequence continue from one document into the next");
  add_common_options(*command, options->common);
  command->callback([options] { run_chunk(*options); });
}

}  // namespace gca::app
