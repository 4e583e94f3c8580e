#include "lib/train/task_data.h"

#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <optional>

#include "lib/core/error.h"
#include "lib/data/self_copy_task.h"
#include "lib/data/sequence_loader.h"
#include "lib/text/tokenizer.h"

namespace gca {
namespace {

ChunkLayout layout_of(const ModelConfig& model) {
  ChunkLayout layout;
  layout.chunk_size = model.uses_retrieval() ? model.chunk_size : 0;
  layout.landmark_id = model.landmark_id >= 0 ? model.landmark_id : model.vocab_size - 1;
  return layout;
}

/// The vocabulary is the tokenizer's and the landmark, unless --set asks for more rows.
void take_vocabulary(const Tokenizer& tokenizer, const std::string& folder, RunConfig& config) {
  ModelConfig& model = config.model;
  const int64_t needed = tokenizer.vocab_size_with_landmark();
  if (!config.explicit_keys.contains("vocab_size")) model.vocab_size = needed;
  if (model.vocab_size < needed)
    fail_usage("--set vocab_size",
               fmt::format("{} ids, the tokenizer of {} needs {}", model.vocab_size, folder, needed),
               "leave vocab_size out");
  if (!config.explicit_keys.contains("landmark_token_id")) model.landmark_id = tokenizer.landmark_id();
  if (model.landmark_id >= 0 && model.landmark_id < tokenizer.piece_count())
    fail_usage("--set landmark_token_id", fmt::format("{} is a piece of text", model.landmark_id),
               "leave landmark_token_id out");
}

/// Opens sequences, or shards to cut on the fly, for this model.
SequenceIndex open_sequences(const std::string& folder, const RunConfig& config) {
  ChunkSettings fallback;
  fallback.chunk_size = config.model.chunk_size;
  fallback.context = config.train.context;
  SequenceIndex index = SequenceIndex::open(folder, fallback);
  if (config.model.uses_retrieval() && index.settings().chunk_size != config.model.chunk_size)
    fail_usage(folder,
               fmt::format("sequences of chunk size {}, the model's is {}", index.settings().chunk_size,
                           config.model.chunk_size),
               "run gca chunk with --chunk-size, or --set chunk_size");
  return index;
}

Tokenizer load_tokenizer(const TokenStore& tokens) {
  Tokenizer tokenizer = Tokenizer::load(tokens.tokenizer_path());
  if (tokenizer.fingerprint() != tokens.tokenizer_fingerprint())
    fail_usage(tokens.tokenizer_path(), "not the tokenizer that made the tokens beside it",
               "run gca tokenize again");
  return tokenizer;
}

/// At most `count` entries, spread evenly.
std::vector<SequenceEntry> spread_choice(std::span<const SequenceEntry> entries, int64_t count) {
  const auto size = static_cast<int64_t>(entries.size());
  const int64_t chosen = std::min(count, size);
  std::vector<SequenceEntry> choice;
  for (int64_t i = 0; i < chosen; ++i) choice.push_back(entries[static_cast<size_t>(i * size / chosen)]);
  return choice;
}

BatchSource loader_source(SequenceIndex index, std::vector<SequenceEntry> entries, const ChunkLayout& layout,
                          uint64_t seed, bool shuffle, const std::vector<int32_t>& piece_bytes) {
  std::string fingerprint = index.fingerprint();
  auto loader = std::make_shared<SequenceLoader>(std::move(index), std::move(entries), layout, seed, shuffle,
                                                 piece_bytes);
  return {[loader](int64_t consumed, int64_t rows) { return loader->batch(consumed, rows); }, fingerprint};
}

TaskData open_text(const TaskRequest& request, RunConfig& config) {
  if (request.data.empty())
    fail_usage("--data", "missing", "give a folder that gca chunk or gca tokenize wrote");
  const SequenceIndex index = open_sequences(request.data, config);
  if (index.settings().context != config.train.context) {
    if (config.explicit_keys.contains("context"))
      fail_usage("--set context",
                 fmt::format("{} tokens, the sequences of {} have {}", config.train.context, request.data,
                             index.settings().context),
                 "leave context out, or run gca chunk with --context");
    config.train.context = index.settings().context;
  }
  const Tokenizer tokenizer = load_tokenizer(index.tokens());
  take_vocabulary(tokenizer, request.data, config);

  const ChunkLayout layout = layout_of(config.model);
  const std::vector<int32_t> piece_bytes = tokenizer.piece_bytes_table();
  TaskData data;
  data.tokenizer_model = tokenizer.serialized();
  data.tokenizer_fingerprint = tokenizer.fingerprint();
  data.train = loader_source(index, {index.train().begin(), index.train().end()}, layout, request.seed, true,
                             piece_bytes);

  const bool has_own_folder = !request.valid.empty();
  const SequenceIndex valid_index = has_own_folder ? open_sequences(request.valid, config) : index;
  if (valid_index.tokens().tokenizer_fingerprint() != tokenizer.fingerprint())
    fail_usage("--valid " + request.valid, "made with another tokenizer than " + request.data,
               "run gca tokenize with --tokenizer " + index.tokens().tokenizer_path());
  std::vector<SequenceEntry> entries = spread_choice(
      has_own_folder ? valid_index.held_out() : valid_index.valid(), config.train.eval_sequences);
  data.validation.sequences = static_cast<int64_t>(entries.size());
  if (!entries.empty())
    data.validation.source = loader_source(valid_index, std::move(entries), layout, 0, false, piece_bytes);
  return data;
}

TaskData open_self_copy(const TaskRequest& request, RunConfig& config) {
  TaskData data;
  int64_t ids = config.model.vocab_size;
  if (!request.data.empty()) {
    const Tokenizer tokenizer = load_tokenizer(open_sequences(request.data, config).tokens());
    take_vocabulary(tokenizer, request.data, config);
    ids = tokenizer.piece_count();
    data.tokenizer_model = tokenizer.serialized();
    data.tokenizer_fingerprint = tokenizer.fingerprint();
  } else if (ids == 0) {
    fail_usage("--task self-copy", "no vocabulary", "give --set vocab_size=N, or --data for a tokenizer's");
  }
  const SelfCopySettings settings{config.train.copy_chunks * config.model.chunk_text_size(), ids,
                                  request.seed};
  config.train.context = 2 * settings.passage_tokens;
  const SelfCopyTask task(settings, layout_of(config.model));
  data.train = {[task](int64_t consumed, int64_t rows) { return task.batch(consumed, rows); },
                task.fingerprint()};
  data.validation.source = data.train;
  data.validation.source.batch = [task](int64_t consumed, int64_t rows) {
    return task.batch(SelfCopyTask::kFirstHeldOut + consumed, rows);
  };
  data.validation.sequences = config.train.eval_sequences;
  data.validation.measures_accuracy = true;
  data.chance = task.chance();
  return data;
}

}  // namespace

TaskData open_task_data(const TaskRequest& request, RunConfig& config) {
  return request.task == "self-copy" ? open_self_copy(request, config) : open_text(request, config);
}

}  // namespace gca
