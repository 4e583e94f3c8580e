// gca inspect-retrieval: for each chunk of a prompt, what it read.

#include <algorithm>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "apps/gca-tensor/open_checkpoint.h"
#include "apps/gca-tensor/read_prompt.h"
#include "apps/gca/common_options.h"
#include "apps/gca/inspect_retrieval_options.h"
#include "apps/gca/tensor_stages.h"
#include "lib/core/error.h"
#include "lib/inspect/retrieval_table.h"
#include "lib/inspect/retrieval_trace.h"

namespace gca {
namespace {

RetrievalTableOptions terminal_options() {
  RetrievalTableOptions options;
  winsize size{};
  options.colour = isatty(STDOUT_FILENO) != 0;
  if (options.colour && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    options.width = size.ws_col;
  return options;
}

nlohmann::ordered_json chunk_to_json(const ChunkReading& reading,
                                     const std::function<std::string(int64_t)>& text_of) {
  nlohmann::ordered_json groups = nlohmann::ordered_json::array();
  for (size_t group = 0; group < reading.groups.size(); ++group) {
    nlohmann::ordered_json retrieved = nlohmann::ordered_json::array();
    for (const RetrievedChunk& chunk : reading.groups[group]) {
      retrieved.push_back({{"chunk", chunk.chunk},
                           {"score", chunk.score},
                           {"weight", chunk.weight},
                           {"text", text_of(chunk.chunk)}});
    }
    groups.push_back({{"group", group}, {"retrieved", std::move(retrieved)}});
  }
  return {{"chunk", reading.chunk},
          {"first_token", reading.first_token},
          {"tokens", reading.tokens},
          {"text", text_of(reading.chunk)},
          {"groups", std::move(groups)}};
}

std::vector<ChunkReading> only_chunk(const std::vector<ChunkReading>& readings, int64_t chunk) {
  const auto count = static_cast<int64_t>(readings.size());
  if (chunk >= count) {
    fail_usage(fmt::format("--chunk {}", chunk), fmt::format("the prompt has {} chunks", count),
               fmt::format("choose one from 0 to {}", count - 1));
  }
  return {readings[static_cast<size_t>(chunk)]};
}

}  // namespace

void run_inspect(const InspectOptions& options) {
  JsonReport report = begin_report("inspect-retrieval", options.common);
  const TextModel model = open_checkpoint(options.checkpoint, options.common);
  if (!model.model.config().uses_retrieval()) {
    fail_usage("--checkpoint " + options.checkpoint.folder,
               "is a sliding-window model that retrieves nothing",
               "give one trained with long_range \"gca\"");
  }
  const std::vector<int32_t> prompt =
      read_prompt(options.prompt, model.tokenizer, thread_count(options.common));
  std::vector<ChunkReading> readings = trace_retrieval(model.model, prompt);
  const auto text_of = [&, chunk_text = model.model.config().chunk_text_size()](int64_t chunk) {
    const auto first = static_cast<size_t>(chunk * chunk_text);
    const size_t tokens = std::min(static_cast<size_t>(chunk_text), prompt.size() - first);
    return model.tokenizer.decode(std::span(prompt).subspan(first, tokens));
  };
  if (options.chunk >= 0) readings = only_chunk(readings, options.chunk);

  report.config = checkpoint_config(options.checkpoint, model);
  report.result["prompt_tokens"] = prompt.size();
  report.result["chunks"] = nlohmann::ordered_json::array();
  for (const ChunkReading& reading : readings)
    report.result["chunks"].push_back(chunk_to_json(reading, text_of));
  finish_report(report, options.common, "", retrieval_table(readings, text_of, terminal_options()));
}

}  // namespace gca
