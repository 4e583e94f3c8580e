// gca tokenize: text files to token shards, and back.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "apps/gca/commands/commands.h"
#include "apps/gca/commands/tokenize.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/rank_options.h"
#include "apps/gca/options/text_arguments.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/process/standard_output.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/files/folder_lock.h"
#include "lib/data/encode_documents.h"
#include "lib/data/token_shard.h"
#include "lib/parallel/rank_environment.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_file.h"

namespace gca::app {
namespace {

/// The part of the report that describes a run.
struct TokenizeTotals {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  text::TextFaults faults;
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
               "give --tokenizer FILE to use a vocabulary, or --train-vocab N to train one");
  if (options.print_ids && options.tokenizer_path.empty())
    fail_usage("--train-vocab", "is not used with --print-ids", "give --tokenizer FILE");
}

/// The file of the tokenizer that --train-vocab trains.
std::string trained_tokenizer(const TokenizeOptions& options, std::span<const text::InputFile> files) {
  std::vector<std::string> paths;
  for (const text::InputFile& file : files) {
    if (file.is_stream)
      fail_usage(file.path, "can be read only once, so no vocabulary can be trained on it",
                 "save it to a file, or give --tokenizer FILE");
    paths.push_back(file.path);
  }
  text::TokenizerTraining training;
  training.source = options.source;
  training.vocab_size = options.train_vocab;
  training.algorithm =
      options.tokenizer_type == "unigram" ? text::TokenizerAlgorithm::unigram : text::TokenizerAlgorithm::bpe;
  training.seed = options.common.seed;
  return text::train_tokenizer(paths, training);
}

text::Tokenizer load_tokenizer(const std::string& path) {
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(path, ignored);
  return text::Tokenizer::load(is_folder ? text::find_tokenizer_file(path) : path);
}

/// The id that --end-tokens puts after every document; -1 without it.
int32_t end_token_of(const TokenizeOptions& options, const text::Tokenizer& tokenizer) {
  if (!options.end_tokens) return -1;
  if (tokenizer.end_id() < 0)
    fail_usage("--end-tokens", "the tokenizer has no piece that ends a text (eos, \"</s>\")",
               "leave it out, or give a tokenizer that has one");
  return tokenizer.end_id();
}

void print_ids(const data::EncodedBlock& block, int32_t end_token) {
  std::string line;
  bool is_first = block.is_first;
  const auto add = [&](int32_t id) {
    if (!std::exchange(is_first, false)) line += ' ';
    line += std::to_string(id);
  };
  for (const int32_t id : block.ids) add(id);
  if (block.is_last && end_token >= 0) add(end_token);
  if (block.is_last) line += '\n';
  write_output(line);
}

void write_block(data::TokenWriter& writer, const data::EncodedBlock& block) {
  if (block.is_first) writer.begin_document(std::string(block.name));
  writer.append(block.ids, block.text);
  if (block.is_last) writer.end_document();
}

TokenizeTotals encode_inputs(const TokenizeOptions& options, const text::Tokenizer& tokenizer,
                             text::DocumentSource& source, data::TokenWriter* writer,
                             const data::EncodeShare& share) {
  TokenizeTotals totals;
  const bool progress = shows_progress(options.common);
  const int32_t end_token = end_token_of(options, tokenizer);
  int64_t shown_megabytes = -1;
  data::EncodeOptions encoding;
  encoding.threads = thread_count(options.common);
  encoding.share = share;
  data::encode_documents(source, tokenizer, encoding, [&](const data::EncodedBlock& block) {
    if (writer != nullptr)
      write_block(*writer, block);
    else
      print_ids(block, end_token);
    totals.documents += block.is_last ? 1 : 0;
    totals.tokens += static_cast<int64_t>(block.ids.size()) + (block.is_last && end_token >= 0 ? 1 : 0);
    totals.bytes += static_cast<int64_t>(block.text.size());
    totals.faults += block.faults;
    if (progress && totals.bytes / 1000000 > std::exchange(shown_megabytes, totals.bytes / 1000000))
      fmt::print(stderr, "\rfile {} of {}, documents {}, {} MB, tokens {}", source.files_opened(),
                 source.file_count(), totals.documents, shown_megabytes, totals.tokens);
  });
  if (progress) fmt::print(stderr, "\n");
  return totals;
}

/// A ratio, 0 where there is nothing to divide by.
double ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

nlohmann::ordered_json counts_to_json(std::span<const text::SourceCounts> counts) {
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (const text::SourceCounts& source : counts) {
    sources.push_back({{"input", source.input},
                       {"files", source.files},
                       {"documents", source.documents},
                       {"bytes", source.bytes},
                       {"skipped_lines", source.skipped_lines},
                       {"replaced_sequences", source.replaced_sequences}});
    if (source.skipped_lines > 0) sources.back()["first_skipped_line"] = source.first_skipped_line;
  }
  return sources;
}

void fill_result(JsonReport& report, const TokenizeTotals& totals, const text::Tokenizer& tokenizer,
                 const text::DocumentSource& source, int64_t skipped_files, double encode_seconds) {
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
      {"skipped_files", skipped_files},
      {"sources", counts_to_json(source.counts())}};
}

/// A line for each input where there are a few.
std::string source_table(std::span<const text::SourceCounts> counts) {
  constexpr size_t kMostRows = 20;
  if (counts.size() < 2 || counts.size() > kMostRows) return "";
  std::string table = fmt::format("{:>10} {:>15} {:>10}  input\n", "documents", "bytes", "skipped");
  for (const text::SourceCounts& source : counts)
    table += fmt::format("{:>10} {:>15} {:>10}  {}\n", source.documents, source.bytes, source.skipped_lines,
                         source.input);
  return table + "\n";
}

std::string table_of(const nlohmann::ordered_json& result, const text::DocumentSource& source) {
  std::string table = source_table(source.counts());
  table +=
      fmt::format("{}, {}, {} ({:.2f} bytes per token), vocabulary {}, {:.1f} MB/s\n",
                  counted(result["documents"].get<int64_t>(), "document"),
                  counted(result["tokens"].get<int64_t>(), "token"),
                  counted(result["bytes"].get<int64_t>(), "byte"), result["bytes_per_token"].get<double>(),
                  result["vocab_size"].get<int64_t>(), result["megabytes_per_second"].get<double>());
  struct Remark {
    const char* key;
    const char* noun;
    const char* meaning;
  };
  constexpr Remark kRemarks[] = {
      {"nul_bytes", "NUL byte", ", kept as byte tokens"},
      {"invalid_utf8_bytes", "byte", " of invalid UTF-8, kept as byte tokens"},
      {"unknown_tokens", "unknown token", ": text that this tokenizer cannot give back"},
      {"skipped_files", "file",
       " in folders skipped: hidden, broken links, unreadable, or of no known extension"}};
  for (const Remark& remark : kRemarks)
    if (const auto count = result[remark.key].get<int64_t>(); count > 0)
      table += counted(count, remark.noun) + remark.meaning + "\n";
  if (!result["lossless"].get<bool>())
    table += "not lossless: this tokenizer does not give every text back byte for byte\n";
  return table + source_remarks(source.counts());
}

void decode_shards(const TokenizeOptions& options) {
  constexpr int64_t kTokensAtOnce = int64_t{1} << 16;
  const data::TokenStore store = data::TokenStore::open(options.decode_folder);
  const text::Tokenizer tokenizer = text::Tokenizer::load(store.tokenizer_path());
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

}  // namespace

void tokenize(const TokenizeOptions& options, const TokenizeRanks& ranks) {
  std::optional<JsonReport> report;
  text::InputFiles inputs;
  std::optional<FolderLock> only_writer;
  ranks.together([&] {
    check_options(options);
    report = begin_report("tokenize", options.common);
    inputs = list_texts(options.inputs);
    if (options.output.empty() || !ranks.is_writer) return;
    data::TokenWriter::check_folder(options.output);  // before a vocabulary is trained
    only_writer.emplace(options.output);
  });
  report->config = {{"inputs", options.inputs},
                    {"output", options.output},
                    {"tokenizer", options.tokenizer_path},
                    {"train_vocab", options.train_vocab},
                    {"tokenizer_type", options.train_vocab == 0 ? "" : options.tokenizer_type},
                    {"end_tokens", options.end_tokens}};
  report->config.update(source_config(options.source));
  std::string trained;
  if (options.train_vocab > 0)
    trained = ranks.of_writer([&] { return trained_tokenizer(options, inputs.files); });
  std::optional<text::Tokenizer> tokenizer;
  ranks.together([&] {
    tokenizer = trained.empty() ? load_tokenizer(options.tokenizer_path)
                                : text::Tokenizer::from_serialized(trained, "the trained vocabulary");
  });
  // Up to here Ctrl-C ends the process at once; from here on what was written aside is removed first.
  install_interrupt_handler();
  text::SourceOptions source_options = options.source;
  source_options.poll = throw_if_interrupted;
  std::optional<text::DocumentSource> source;
  std::optional<data::TokenWriter> writer;
  const double start_seconds = report->elapsed_seconds();
  ranks.together([&] {
    const int32_t end_token = end_token_of(options, *tokenizer);
    source.emplace(inputs, source_options);
    if (!options.print_ids && ranks.is_writer)
      writer.emplace(options.output, tokenizer->serialized(), tokenizer->fingerprint(),
                     tokenizer->piece_count(), data::kTokensPerShard, end_token);
  });
  const TokenizeTotals totals =
      encode_inputs(options, *tokenizer, *source, writer ? &*writer : nullptr, ranks.share);
  if (!ranks.is_writer) return;
  if (options.print_ids) {
    fmt::print(stderr, "{}", source_remarks(source->counts()));
    return;
  }
  writer->finish();
  fill_result(*report, totals, *tokenizer, *source, inputs.skipped_files,
              report->elapsed_seconds() - start_seconds);
  finish_report(*report, options.common, options.output, table_of(report->result, *source));
}

void add_tokenize_command(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token shards");
  command->add_option("INPUT", options->inputs, "Files, folders, or - for standard input");
  command->add_option("--output", options->output, "Folder to write")->type_name("DIR");
  command
      ->add_option(
          "--tokenizer", options->tokenizer_path,
          "Tokenizer to encode with: a SentencePiece model (tokenizer.model), a tokenizer.json of byte-level "
          "BPE, or a folder with one of them in it")
      ->type_name("FILE");
  add_size_option(*command, "--train-vocab", options->train_vocab,
                  "Train a vocabulary of this size on the inputs");
  CLI::Option* type =
      command
          ->add_option("--tokenizer-type", options->tokenizer_type,
                       with_default("What --train-vocab trains: bpe (byte-pair encoding) or unigram",
                                    options->tokenizer_type))
          ->check(CLI::IsMember({"bpe", "unigram"}))
          ->type_name("NAME");
  command->add_flag(
      "--end-tokens", options->end_tokens,
      "End every document with the tokenizer's end token (</s>): a model that is trained on it learns to "
      "end, and gca generate ends there");
  command->add_flag("--print-ids", options->print_ids,
                    "Print the token ids, one line per document, and write no files");
  command->add_option("--decode", options->decode_folder, "Print the text of a folder of token shards")
      ->type_name("DIR");
  add_source_options(*command, options->source);
  add_common_options(*command, options->common);
  add_timeout_option(*command, options->timeout_seconds);
  command->callback([command, options, type] {
    if (type->count() > 0 && options->train_vocab == 0)
      fail_usage("--tokenizer-type", "is only used with --train-vocab", "leave it out");
    if (!options->decode_folder.empty()) refuse_source_options(*command, "with --decode");
    if (!options->decode_folder.empty() && options->end_tokens)
      fail_usage("--end-tokens", "is not used with --decode", "leave it out");
    if (!options->decode_folder.empty()) {
      refuse_ranks("--decode");
      check_options(*options);
      return decode_shards(*options);
    }
    if (parallel::rank_environment().size > 1) return run_shared_tokenize(*options);
    tokenize(*options, {});
  });
}

}  // namespace gca::app
