// gca inspect-retrieval: for each chunk of a prompt, what it read.

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/read_prompt.h"
#include "apps/gca-tensor/tensor_report.h"
#include "apps/gca/options/common_options.h"
#include "apps/gca/options/inspect_retrieval_options.h"
#include "apps/gca/process/result_files.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/inspect/retrieval_map.h"
#include "lib/inspect/retrieval_page.h"
#include "lib/inspect/retrieval_table.h"
#include "lib/inspect/retrieval_trace.h"
#include "lib/inspect/token_losses.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/memory/memory_library.h"

namespace gca::app {
namespace {

inspect::RetrievalTableOptions terminal_options() {
  inspect::RetrievalTableOptions options;
  winsize size{};
  options.colour = isatty(STDOUT_FILENO) != 0;
  if (options.colour && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    options.width = size.ws_col;
  return options;
}

/// The text, and the library before it: chunks of the library are numbered backwards from -1.
class Chunks {
 public:
  Chunks(const model::TextModel& model, std::span<const int32_t> prompt, const model::MemoryLibrary* library)
      : model_(model), prompt_(prompt), library_(library) {}

  std::string text(int64_t chunk) const {
    if (chunk < 0) return model_.tokenizer.decode(library_->tokens(in_library(chunk)));
    const int64_t chunk_tokens = inspect::traced_chunk_tokens(model_.model.config());
    const auto first = static_cast<size_t>(chunk * chunk_tokens);
    const size_t tokens = std::min(static_cast<size_t>(chunk_tokens), prompt_.size() - first);
    return model_.tokenizer.decode(prompt_.subspan(first, tokens));
  }

  /// Of a chunk of the library.
  inspect::ChunkPlace place(int64_t chunk) const {
    const model::MemoryDocument& document = library_->index().document_of(in_library(chunk));
    return {document.name, in_library(chunk) - document.first_chunk};
  }

  /// What the text goes on after.
  std::unique_ptr<model::Past> past() const {
    return library_ != nullptr ? library_->past(model_.model, {}) : nullptr;
  }

 private:
  int64_t in_library(int64_t chunk) const { return library_->index().chunk_count() + chunk; }

  const model::TextModel& model_;
  std::span<const int32_t> prompt_;
  const model::MemoryLibrary* library_;
};

nlohmann::ordered_json retrieved_to_json(const inspect::RetrievedChunk& chunk, const Chunks& chunks) {
  nlohmann::ordered_json one;
  if (chunk.chunk < 0) {
    const inspect::ChunkPlace place = chunks.place(chunk.chunk);
    one = {{"document", place.document}, {"chunk", place.chunk}};
  } else {
    one = {{"chunk", chunk.chunk}};
  }
  if (chunk.chosen_by > 0)
    one["chosen_by"] = chunk.chosen_by;
  else
    one["score"] = chunk.score;
  one["weight"] = chunk.weight;
  if (!chunk.of_tokens.empty()) one["weights_of_tokens"] = chunk.of_tokens;
  one["text"] = chunks.text(chunk.chunk);
  return one;
}

nlohmann::ordered_json chunk_to_json(const inspect::ChunkReading& reading,
                                     std::span<const model::Reader> readers, const Chunks& chunks) {
  nlohmann::ordered_json groups = nlohmann::ordered_json::array();
  for (size_t i = 0; i < readers.size(); ++i) {
    const model::Reader& reader = readers[i];
    nlohmann::ordered_json group;
    if (reader.layer < 0)
      group = {{"group", reader.place}};
    else
      group = {{"layer", reader.layer}, {"head", reader.place}};
    group["retrieved"] = nlohmann::ordered_json::array();
    for (const inspect::RetrievedChunk& chunk : reading.readers[i])
      group["retrieved"].push_back(retrieved_to_json(chunk, chunks));
    groups.push_back(std::move(group));
  }
  return {{"chunk", reading.chunk},
          {"first_token", reading.first_token},
          {"tokens", reading.tokens},
          {"text", chunks.text(reading.chunk)},
          {"groups", std::move(groups)}};
}

/// The page of --html: costs two more passes over the text, with and without reading.
std::string page_of(const InspectOptions& options, const model::TextModel& model,
                    std::span<const int32_t> prompt, std::span<const inspect::ChunkReading> readings,
                    const Chunks& chunks) {
  inspect::RetrievalPageInput page;
  page.title = "What each chunk read: " + (options.prompt.file.empty() ? "a prompt" : options.prompt.file);
  page.model = model::model_config_to_json(model.model.config());
  page.readings = readings;
  page.readers = inspect::reader_names(model.model.config());
  page.pieces.reserve(prompt.size());
  for (const int32_t token : prompt) page.pieces.push_back(model.tokenizer.decode({&token, 1}));
  const std::vector<float> losses =
      inspect::token_losses(model.model, prompt, model::Retriever::learned, 0, chunks.past());
  const std::vector<float> losses_reading_none =
      inspect::token_losses(model.model, prompt, model::Retriever::none, 0, chunks.past());
  for (const inspect::ChunkReading& reading : readings)
    for (const auto& reader : reading.readers)
      for (const inspect::RetrievedChunk& read : reader)
        if (read.chunk < 0) page.before[read.chunk] = {chunks.place(read.chunk), chunks.text(read.chunk)};
  page.losses = losses;
  page.losses_reading_none = losses_reading_none;
  return inspect::retrieval_page(page);
}

std::string maps_of(std::span<const inspect::ChunkReading> readings, std::span<const std::string> readers,
                    int64_t width) {
  std::string maps;
  for (size_t reader = 0; reader < readers.size(); ++reader)
    maps += (reader > 0 ? "\n" : "") + inspect::retrieval_map(readings, reader, readers[reader], width);
  return maps;
}

std::vector<inspect::ChunkReading> only_chunk(const std::vector<inspect::ChunkReading>& readings,
                                              int64_t chunk) {
  const auto count = static_cast<int64_t>(readings.size());
  if (chunk >= count) {
    fail_usage(fmt::format("--chunk {}", chunk), fmt::format("the prompt has {} chunks", count),
               fmt::format("choose one from 0 to {}", count - 1));
  }
  return {readings[static_cast<size_t>(chunk)]};
}

}  // namespace

void run_inspect(const InspectOptions& options) {
  JsonReport report = begin_tensor_report("inspect-retrieval", options.common, options.checkpoint.tensor);
  if (!options.html_path.empty()) require_writable_file("--html", options.html_path);
  const model::TextModel model = open_checkpoint(options.checkpoint, options.common);
  const model::ModelConfig& config = model.model.config();
  inspect::require_choice(config, "--checkpoint " + options.checkpoint.folder);
  model::require_choice_without_vectors(config, "--checkpoint " + options.checkpoint.folder, "a prompt");
  const std::vector<int32_t> prompt =
      read_prompt(options.prompt, model.tokenizer, thread_count(options.common));
  std::optional<model::MemoryLibrary> library;
  if (!options.load_memory.empty()) library = model::MemoryLibrary::open(options.load_memory, model);
  const Chunks chunks(model, prompt, library ? &*library : nullptr);
  std::vector<inspect::ChunkReading> readings =
      inspect::trace_retrieval(model.model, prompt, 0, chunks.past());
  const std::vector<std::string> names = inspect::reader_names(config);
  const auto text_of = [&](int64_t chunk) { return chunks.text(chunk); };
  inspect::RetrievalTableOptions terminal = terminal_options();
  terminal.place_of = [&](int64_t chunk) { return chunks.place(chunk); };
  std::string shown;
  std::vector<ResultFile> files;
  if (!options.html_path.empty()) {
    files.push_back({options.html_path, page_of(options, model, prompt, readings, chunks)});
    shown = options.html_path + "\n";
  }
  if (options.ascii) shown += maps_of(readings, names, terminal.width);
  if (options.chunk >= 0) readings = only_chunk(readings, options.chunk);
  if (shown.empty() || options.chunk >= 0)
    shown += inspect::retrieval_table(readings, names, text_of, terminal);

  report.config = checkpoint_config(options.checkpoint, model);
  report.config["load_memory"] = options.load_memory;
  report.result["prompt_tokens"] = prompt.size();
  report.result["chunks"] = nlohmann::ordered_json::array();
  const std::vector<model::Reader> readers = model::backbone_kind(config).readers(config);
  for (const inspect::ChunkReading& reading : readings)
    report.result["chunks"].push_back(chunk_to_json(reading, readers, chunks));
  finish_report_with_files(report, options.common, "", shown, files);
}

}  // namespace gca::app
