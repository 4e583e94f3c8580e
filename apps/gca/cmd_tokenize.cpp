// gca tokenize: text files to token shards, and back.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "apps/gca/commands.h"
#include "apps/gca/common_options.h"
#include "apps/gca/interrupt.h"
#include "apps/gca/standard_output.h"
#include "lib/core/error.h"
#include "lib/data/encode_documents.h"
#include "lib/data/input_files.h"
#include "lib/data/token_shard.h"
#include "lib/text/tokenizer.h"

namespace gca {
namespace {

struct TokenizeOptions {
  CommonOptions common;
  std::vector<std::string> inputs;
  std::string output;
  std::string tokenizer_path;
  int64_t train_vocab = 0;
  bool print_ids = false;
  std::string decode_folder;
};

/// The part of the report that describes a run.
struct TokenizeTotals {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  TextFaults faults;
};

void check_options(const TokenizeOptions& options) {
  if (!options.decode_folder.empty()) {
    if (!options.inputs.empty())
      fail_usage(options.inputs.front(), "is not used with --decode", "leave it out");
    return;
  }
  if (options.inputs.empty())
    fail_usage("INPUT", "is missing", "name files, folders, or - for standard input");
  if (options.output.empty() == !options.print_ids)
    fail_usage("--output", options.print_ids ? "is not used with --print-ids" : "is missing",
               options.print_ids ? "choose one of them" : "name the folder to write");
  if (options.tokenizer_path.empty() == (options.train_vocab == 0))
    fail_usage("--tokenizer, --train-vocab", options.train_vocab == 0 ? "one is missing" : "both were given",
               "give --tokenizer FILE.model to use a vocabulary, or --train-vocab N to train one");
  if (options.print_ids && options.tokenizer_path.empty())
    fail_usage("--train-vocab", "is not used with --print-ids", "give --tokenizer FILE.model");
}

Tokenizer make_tokenizer(const TokenizeOptions& options, std::span<const TextInput> inputs) {
  if (!options.tokenizer_path.empty()) return Tokenizer::load(options.tokenizer_path);
  std::vector<std::string> paths;
  for (const TextInput& input : inputs) {
    if (input.is_stream)
      fail_usage(input.name, "can be read only once, so no vocabulary can be trained on it",
                 "save it to a file, or give --tokenizer FILE.model");
    paths.push_back(input.name);
  }
  TokenizerTraining training;
  training.vocab_size = options.train_vocab;
  training.seed = options.common.seed;
  return Tokenizer::from_serialized(train_tokenizer(paths, training), "the trained vocabulary");
}

void print_ids(const EncodedBlock& block) {
  std::string line;
  for (size_t i = 0; i < block.ids.size(); ++i) {
    if (!block.is_first || i > 0) line += ' ';
    line += std::to_string(block.ids[i]);
  }
  if (block.is_last) line += '\n';
  write_output(line);
}

void write_block(TokenWriter& writer, const EncodedBlock& block, const std::string& name) {
  if (block.is_first) writer.begin_document(name);
  writer.append(block.ids, block.text);
  if (block.is_last) writer.end_document();
}

TokenizeTotals encode_inputs(const TokenizeOptions& options, const Tokenizer& tokenizer,
                             std::span<const TextInput> inputs, TokenWriter* writer) {
  TokenizeTotals totals;
  const bool progress = shows_progress(options.common);
  EncodeOptions encoding;
  encoding.threads = thread_count(options.common);
  encoding.poll = throw_if_interrupted;
  encode_documents(inputs, tokenizer, encoding, [&](const EncodedBlock& block) {
    if (writer != nullptr)
      write_block(*writer, block, inputs[static_cast<size_t>(block.document)].name);
    else
      print_ids(block);
    totals.documents += block.is_last ? 1 : 0;
    totals.tokens += static_cast<int64_t>(block.ids.size());
    totals.bytes += static_cast<int64_t>(block.text.size());
    totals.faults += block.faults;
    if (progress)
      fmt::print(stderr, "\r{} of {} documents, {} MB, {} tokens", totals.documents, inputs.size(),
                 totals.bytes / 1000000, totals.tokens);
  });
  if (progress) fmt::print(stderr, "\n");
  return totals;
}

/// A ratio, 0 where there is nothing to divide by.
double ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

void fill_result(JsonReport& report, const TokenizeTotals& totals, const Tokenizer& tokenizer,
                 int64_t skipped_files, double encode_seconds) {
  report.result = {
      {"documents", totals.documents},
      {"tokens", totals.tokens},
      {"bytes", totals.bytes},
      {"bytes_per_token", ratio(static_cast<double>(totals.bytes), static_cast<double>(totals.tokens))},
      {"vocab_size", tokenizer.piece_count()},
      {"megabytes_per_second", ratio(static_cast<double>(totals.bytes) / 1e6, encode_seconds)},
      {"tokenizer", tokenizer.fingerprint()},
      {"lossless", tokenizer.is_lossless()},
      {"nul_bytes", totals.faults.nul_bytes},
      {"invalid_utf8_bytes", totals.faults.invalid_utf8_bytes},
      {"unknown_tokens", totals.faults.unknown_tokens},
      {"skipped_files", skipped_files}};
}

std::string table_of(const nlohmann::ordered_json& result) {
  std::string table =
      fmt::format("{} documents, {} tokens, {} bytes ({:.2f} bytes per token), vocabulary {}, {:.1f} MB/s\n",
                  result["documents"].get<int64_t>(), result["tokens"].get<int64_t>(),
                  result["bytes"].get<int64_t>(), result["bytes_per_token"].get<double>(),
                  result["vocab_size"].get<int64_t>(), result["megabytes_per_second"].get<double>());
  const std::pair<const char*, const char*> remarks[] = {
      {"nul_bytes", "NUL bytes, kept as byte tokens"},
      {"invalid_utf8_bytes", "bytes of invalid UTF-8, kept as byte tokens"},
      {"unknown_tokens", "unknown tokens: text that this tokenizer cannot give back"},
      {"skipped_files", "files skipped: hidden, or not *.txt, *.tex, *.md"}};
  for (const auto& [key, meaning] : remarks)
    if (const auto count = result[key].get<int64_t>(); count > 0)
      table += fmt::format("{} {}\n", count, meaning);
  return table;
}

void decode_shards(const TokenizeOptions& options) {
  constexpr int64_t kTokensAtOnce = int64_t{1} << 16;
  const TokenStore store = TokenStore::open(options.decode_folder);
  const Tokenizer tokenizer = Tokenizer::load(store.tokenizer_path());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < store.documents().size(); ++i) {
    const int64_t tokens = store.documents()[i].tokens;
    for (int64_t first = 0; first < tokens; first += kTokensAtOnce) {
      ids.resize(static_cast<size_t>(std::min(kTokensAtOnce, tokens - first)));
      store.read(static_cast<int64_t>(i), first, ids);
      write_output(tokenizer.decode(ids));
    }
  }
}

void run_tokenize(const TokenizeOptions& options) {
  check_options(options);
  if (!options.decode_folder.empty()) return decode_shards(options);
  JsonReport report = begin_report("tokenize", options.common);
  report.config = {{"inputs", options.inputs},
                   {"output", options.output},
                   {"tokenizer", options.tokenizer_path},
                   {"train_vocab", options.train_vocab}};
  const TextInputs inputs = list_text_inputs(options.inputs);
  if (!options.output.empty()) TokenWriter::check_folder(options.output);  // before a vocabulary is trained
  const Tokenizer tokenizer = make_tokenizer(options, inputs.texts);
  // Up to here Ctrl-C ends the process at once; from here on what was written aside is removed first.
  install_interrupt_handler();
  if (options.print_ids) {
    encode_inputs(options, tokenizer, inputs.texts, nullptr);
    return;
  }
  const double start_seconds = report.elapsed_seconds();
  TokenWriter writer(options.output, tokenizer.serialized(), tokenizer.fingerprint(),
                     tokenizer.piece_count());
  const TokenizeTotals totals = encode_inputs(options, tokenizer, inputs.texts, &writer);
  writer.finish();
  fill_result(report, totals, tokenizer, inputs.skipped_files, report.elapsed_seconds() - start_seconds);
  finish_report(report, options.common, options.output, table_of(report.result));
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token shards");
  command->add_option("INPUT", options->inputs, "Files, folders, or - for standard input");
  command->add_option("--output", options->output, "Folder to write")->type_name("DIR");
  command->add_option("--tokenizer", options->tokenizer_path, "SentencePiece model to encode with")
      ->type_name("FILE.model");
  add_size_option(*command, "--train-vocab", options->train_vocab,
                  "Train a vocabulary of this size on the inputs");
  command->add_flag("--print-ids", options->print_ids,
                    "Print the token ids, one line per document, and write no files");
  command->add_option("--decode", options->decode_folder, "Print the text of a folder of token shards")
      ->type_name("DIR");
  add_common_options(*command, options->common);
  command->callback([options] { run_tokenize(*options); });
}

}  // namespace gca
