// gca memory build: texts read once into a library of chunk memory.

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/ranks.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/commands/commands.h"
#include "apps/gca/options/memory_options.h"
#include "apps/gca/process/interrupt.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/core/files/folder_lock.h"
#include "lib/core/machine/machine_memory.h"
#include "lib/core/seconds_since.h"
#include "lib/data/encode_documents.h"
#include "lib/data/sealed_json.h"
#include "lib/data/token_shard.h"
#include "lib/model/memory/memory_library.h"
#include "lib/model/model_fingerprint.h"
#include "lib/parallel/agreement.h"
#include "lib/parallel/rank_environment.h"

namespace gca::app {
namespace {

model::LibraryText text_of(const std::string& name, std::vector<int32_t> tokens) {
  auto kept = std::make_shared<const std::vector<int32_t>>(std::move(tokens));
  return {name, static_cast<int64_t>(kept->size()), [kept](int64_t first, std::span<int32_t> out) {
            std::copy_n(kept->begin() + first, out.size(), out.begin());
          }};
}

void add_shards(const std::string& folder, const model::TextModel& model,
                std::vector<model::LibraryText>& texts) {
  const data::TokenStore store = data::TokenStore::open(folder);
  model.require_tokenizer(store.tokenizer_fingerprint(), folder);
  for (size_t i = 0; i < store.documents().size(); ++i) {
    const data::TokenDocument& document = store.documents()[i];
    texts.push_back({document.name, document.tokens, [store, i](int64_t first, std::span<int32_t> out) {
                       store.read(static_cast<int64_t>(i), first, out);
                     }});
  }
}

void add_plain_texts(const std::string& input, const MemoryOptions& options, const model::TextModel& model,
                     bool tells, std::vector<model::LibraryText>& texts) {
  text::SourceOptions source_options = options.source;
  source_options.poll = throw_if_interrupted;
  text::DocumentSource source(list_texts({&input, 1}), source_options);
  std::vector<int32_t> tokens;
  data::EncodeOptions encoding;
  encoding.threads = thread_count(options.common);
  data::encode_documents(source, model.tokenizer, encoding, [&](const data::EncodedBlock& block) {
    tokens.insert(tokens.end(), block.ids.begin(), block.ids.end());
    if (!block.is_last) return;
    texts.push_back(text_of(std::string(block.name), std::exchange(tokens, {})));
  });
  if (tells) fmt::print(stderr, "{}", source_remarks(source.counts()));
}

/// `tells`: remarks on them go to standard error.
std::vector<model::LibraryText> texts_of(const MemoryOptions& options, const model::TextModel& model,
                                         bool tells) {
  std::vector<model::LibraryText> texts;
  for (const std::string& input : options.inputs) {
    const std::string format = data::folder_format(input);
    if (format == data::kTokenFormat)
      add_shards(input, model, texts);
    else if (format.empty())
      add_plain_texts(input, options, model, tells, texts);
    else
      fail_usage(input, "holds " + format + " and no text",
                 "give texts, or a folder written by gca tokenize");
  }
  return texts;
}

std::string lengths_of(std::span<const model::LibraryText> texts) {
  std::string lengths;
  for (const model::LibraryText& text : texts) lengths += fmt::format("{} {}\n", text.tokens, text.name);
  return lengths;
}

void build_as_rank(MemoryOptions options, parallel::Communicator* ranks) {
  require_same_command(ranks);
  if (!is_writer(ranks)) be_silent(options.common);
  std::optional<JsonReport> report;
  std::unique_ptr<const model::TextModel> opened;
  std::optional<FolderLock> only_writer;
  std::vector<model::LibraryText> texts;
  parallel::succeed_together(ranks, [&] {
    report = begin_tensor_report("memory", options.common, options.checkpoint.tensor);
    if (is_writer(ranks)) model::claim_library_folder(options.output);
    opened.reset(new model::TextModel(
        open_checkpoint(options.checkpoint, options.common, parallel::rank_environment().local_rank)));
    install_interrupt_handler();
    if (is_writer(ranks)) only_writer.emplace(options.output);
    texts = texts_of(options, *opened, is_writer(ranks));
  });
  const model::TextModel& model = *opened;
  if (ranks != nullptr)
    parallel::require_same(
        *ranks, {{"checkpoint", model::model_fingerprint(model.model)}, {"text", lengths_of(texts)}});

  const int64_t chunk_text = std::max<int64_t>(1, model.model.config().chunk_text_size());
  int64_t total = 0;
  for (const model::LibraryText& text : texts) total += text.tokens / chunk_text * chunk_text;
  model::ReadMemoryOptions reading;
  reading.threads = thread_count(options.common);
  reading.segment_positions = options.segment_positions;
  reading.ranks = ranks;
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return seconds_since(start); };
  const bool shows = shows_progress(options.common);
  reading.progress = [&](int64_t chunks) {
    throw_if_interrupted();
    const auto tokens = static_cast<double>(chunks * chunk_text);
    if (shows)
      fmt::print(stderr, "\r{:.1f} of {:.1f} million tokens, {:.0f} tokens/s ", tokens / 1e6,
                 static_cast<double>(total) / 1e6, tokens / seconds());
  };
  const model::MemoryDtype dtype = options.memory_dtype.empty()
                                       ? model::lossless_dtype(model.model.compute_dtype())
                                       : model::memory_dtype_of(options.memory_dtype, "--memory-dtype");
  const model::MemoryIndex index = model::build_library(options.output, model, texts, dtype, reading);
  if (shows) fmt::print(stderr, "\r\033[K");

  if (!is_writer(ranks)) return;

  report->config = checkpoint_config(options.checkpoint, model);
  report->config["action"] = options.action;
  report->config["memory_dtype"] = model::name_of(dtype);
  report->result = library_to_json(index);
  report->result["build_seconds"] = seconds();
  report->result["tokens_per_second"] = static_cast<double>(index.token_count()) / seconds();
  report->result["peak_memory_bytes"] = peak_memory_bytes();
  finish_report(
      *report, options.common, options.output,
      library_table(index) + fmt::format("read in {:.1f} s, {:.0f} tokens/s, {} resident at most\n",
                                         seconds(), report->result["tokens_per_second"].get<double>(),
                                         memory_text(static_cast<double>(peak_memory_bytes()))));
}

}  // namespace

void run_memory_build(const MemoryOptions& options) {
  as_rank(options.timeout_seconds, [&](parallel::Communicator* ranks) { build_as_rank(options, ranks); });
}

}  // namespace gca::app
