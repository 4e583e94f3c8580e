#include "lib/train/task_data.h"

#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <optional>

#include "lib/core/error.h"
#include "lib/core/sha256.h"
#include "lib/data/haystack.h"
#include "lib/data/sequence_loader.h"
#include "lib/model/backbone_kinds.h"
#include "lib/tasks/task_kinds.h"
#include "lib/text/tokenizer.h"

namespace gca::train {
namespace {

data::ChunkLayout layout_of(const model::ModelConfig& model) {
  data::ChunkLayout layout;
  layout.chunk_size = model::backbone_kind(model).has_landmarks ? model.chunk_size : 0;
  layout.landmark_id = model.landmark_id >= 0 ? model.landmark_id : model.vocab_size - 1;
  return layout;
}

/// The vocabulary is the tokenizer's and the landmark, unless --set asks for more rows.
void take_vocabulary(const text::Tokenizer& tokenizer, const std::string& folder, RunConfig& config) {
  model::ModelConfig& model = config.model;
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
data::SequenceIndex open_sequences(const std::string& folder, const RunConfig& config) {
  data::ChunkSettings fallback;
  fallback.chunk_size = config.model.chunk_size;
  fallback.context = config.train.context;
  data::SequenceIndex index = data::SequenceIndex::open(folder, fallback);
  if (model::backbone_kind(config.model).has_landmarks &&
      index.settings().chunk_size != config.model.chunk_size)
    fail_usage(folder,
               fmt::format("sequences of chunk size {}, the model's is {}", index.settings().chunk_size,
                           config.model.chunk_size),
               "run gca chunk with --chunk-size, or --set chunk_size");
  return index;
}

text::Tokenizer load_tokenizer(const data::TokenStore& tokens) {
  text::Tokenizer tokenizer = text::Tokenizer::load(tokens.tokenizer_path());
  if (tokenizer.fingerprint() != tokens.tokenizer_fingerprint())
    fail_usage(tokens.tokenizer_path(), "not the tokenizer that made the tokens beside it",
               "run gca tokenize again");
  return tokenizer;
}

/// At most `count` entries, spread evenly.
std::vector<data::SequenceEntry> spread_choice(std::span<const data::SequenceEntry> entries, int64_t count) {
  const auto size = static_cast<int64_t>(entries.size());
  const int64_t chosen = std::min(count, size);
  std::vector<data::SequenceEntry> choice;
  for (int64_t i = 0; i < chosen; ++i) choice.push_back(entries[static_cast<size_t>(i * size / chosen)]);
  return choice;
}

BatchSource loader_source(data::SequenceIndex index, std::vector<data::SequenceEntry> entries,
                          const data::ChunkLayout& layout, uint64_t seed, bool shuffle,
                          const data::PieceBytes& piece_bytes) {
  std::string fingerprint = index.fingerprint();
  auto loader = std::make_shared<data::SequenceLoader>(std::move(index), std::move(entries), layout, seed,
                                                       shuffle, piece_bytes);
  return {[loader](int64_t consumed, int64_t rows) { return loader->batch(consumed, rows); }, fingerprint};
}

/// What a task reads, and what it is looked at with.
struct Sources {
  BatchSource train;
  ValidationSource validation;
  double chance = 0.0;
};

/// Opens the tasks of one run: all read the same data, with one tokenizer.
class TaskOpener {
 public:
  explicit TaskOpener(const TaskRequest& request) : request_(request) {}

  /// Loads the tokenizer of the data, where there is data, and completes the vocabulary of `config`.
  void open_tokenizer(RunConfig& config) {
    if (request_.data.empty()) return;
    const data::TokenStore tokens = open_sequences(request_.data, config).tokens();
    tokenizer_ = load_tokenizer(tokens);
    end_token_ = tokens.end_token();
    take_vocabulary(*tokenizer_, request_.data, config);
  }

  const std::optional<text::Tokenizer>& tokenizer() const { return tokenizer_; }
  int32_t end_token() const { return end_token_; }

  /// Completes `config` with the length of a sequence, where the data decides it.
  Sources open(const std::string& task, RunConfig& config) const {
    const tasks::TaskKind* kind = tasks::find_task_kind(task);
    if (task != tasks::kTextTask && (kind == nullptr || kind->make_sequences == nullptr))
      fail_usage("--task " + task, "no such task to train on", "gca pretrain --help lists them");
    if (request_.data.empty() && (kind == nullptr || kind->reads_data))
      fail_usage("--data", "missing", "give a folder that gca chunk or gca tokenize wrote");
    return kind == nullptr ? open_text(config) : open_kind(*kind, config);
  }

 private:
  Sources open_text(RunConfig& config) const;
  Sources open_kind(const tasks::TaskKind& kind, RunConfig& config) const;

  /// The folder to validate on, where it is another; its tokens must be of the same tokenizer.
  data::SequenceIndex open_valid(const data::SequenceIndex& index, const RunConfig& config) const {
    if (request_.valid.empty()) return index;
    data::SequenceIndex valid = open_sequences(request_.valid, config);
    if (valid.tokens().tokenizer_fingerprint() != tokenizer_->fingerprint())
      fail_usage("--valid " + request_.valid, "made with another tokenizer than " + request_.data,
                 "run gca tokenize with --tokenizer " + index.tokens().tokenizer_path());
    return valid;
  }

  /// The texts to plant something in: to train on, and to validate on.
  struct Haystacks {
    data::Haystack train;
    data::Haystack held_out;
    std::string fingerprint;  ///< of the data
  };

  Haystacks open_haystacks(const RunConfig& config) const {
    // Haystacks are whole documents: how they would be cut does not matter.
    data::ChunkSettings settings;
    settings.chunk_size = config.model.chunk_size;
    const data::SequenceIndex index = data::SequenceIndex::open(request_.data, settings);
    const data::SequenceIndex valid = open_valid(index, config);
    const data::Haystack train = data::Haystack::of(index, index.train());
    const bool is_other = !request_.valid.empty() || !index.valid().empty();
    return {train, is_other ? data::Haystack::of(valid, valid.held_out()) : train, index.fingerprint()};
  }

  const TaskRequest& request_;
  std::optional<text::Tokenizer> tokenizer_;
  int32_t end_token_ = -1;
};

Sources TaskOpener::open_text(RunConfig& config) const {
  const data::SequenceIndex index = open_sequences(request_.data, config);
  if (index.settings().context != config.train.context) {
    if (config.explicit_keys.contains("context"))
      fail_usage("--set context",
                 fmt::format("{} tokens, the sequences of {} have {}", config.train.context, request_.data,
                             index.settings().context),
                 "leave context out, or run gca chunk with --context");
    config.train.context = index.settings().context;
  }
  const data::ChunkLayout layout = layout_of(config.model);
  const data::PieceBytes piece_bytes = data::PieceBytes::of(*tokenizer_);
  Sources sources;
  sources.train = loader_source(index, {index.train().begin(), index.train().end()}, layout, request_.seed,
                                true, piece_bytes);
  const data::SequenceIndex valid = open_valid(index, config);
  std::vector<data::SequenceEntry> entries =
      spread_choice(request_.valid.empty() ? valid.valid() : valid.held_out(), config.train.eval_sequences);
  sources.validation.sequences = static_cast<int64_t>(entries.size());
  sources.validation.batch = config.train.batch;
  if (!entries.empty())
    sources.validation.source = loader_source(valid, std::move(entries), layout, 0, false, piece_bytes);
  return sources;
}

Sources TaskOpener::open_kind(const tasks::TaskKind& kind, RunConfig& config) const {
  tasks::TaskSite site;
  site.settings = config.train.tasks;
  site.layout = layout_of(config.model);
  site.chunk_text = config.model.chunk_text_size();
  site.context = config.train.context;
  site.tokenizer = tokenizer_ ? &*tokenizer_ : nullptr;
  site.ids = tokenizer_ ? tokenizer_->piece_count() : config.model.vocab_size;
  site.seed = request_.seed;
  const std::shared_ptr<const tasks::TrainingSequences> sequences = kind.make_sequences(site);
  const Haystacks texts = kind.reads_data ? open_haystacks(config) : Haystacks();
  const std::string fingerprint = sequences->fingerprint();
  config.train.context = sequences->context();

  Sources sources;
  sources.train = {[sequences, haystack = texts.train](int64_t consumed, int64_t rows) {
                     return sequences->batch(consumed, rows, haystack);
                   },
                   kind.reads_data ? fingerprint + " " + texts.fingerprint : fingerprint};
  sources.validation.source = {[sequences, haystack = texts.held_out](int64_t consumed, int64_t rows) {
                                 return sequences->batch(tasks::kFirstHeldOut + consumed, rows, haystack);
                               },
                               fingerprint};
  sources.validation.sequences = config.train.eval_sequences;
  sources.validation.measures_accuracy = true;
  sources.validation.batch = config.train.batch;
  sources.chance = sequences->chance();
  return sources;
}

/// The tasks of all phases as one source, each step's batch from its task.
void open_phases(const TaskOpener& opener, const TaskRequest& request, RunConfig& config, TaskData& data) {
  auto phases = std::make_shared<TrainingPhases>(request.phases, config, "--phases");
  auto opened = std::make_shared<std::vector<std::vector<Sources>>>();
  std::string fingerprints = request.phases.dump();
  int64_t longest = 0;
  for (size_t number = 0; number < phases->phases().size(); ++number) {
    const std::vector<PhaseTask>& tasks = phases->phases()[number].tasks;
    opened->emplace_back();
    for (size_t i = 0; i < tasks.size(); ++i) {
      const PhaseTask& task = tasks[i];
      RunConfig own = task.config;
      opened->back().push_back(opener.open(task.task, own));
      opened->back().back().validation.task = task.task;
      fingerprints += "\n" + opened->back().back().train.fingerprint;
      phases->set_context(number, i, own.train.context);
      longest = std::max(longest, own.train.context);
    }
  }
  data.train = {[phases, opened](int64_t consumed, int64_t rows) {
                  const PhaseStep& step = phases->where(phases->step_after(consumed));
                  const Sources& sources = (*opened)[step.phase][step.task];
                  return sources.train.batch(step.task_sequences + consumed - step.sequences, rows);
                },
                sha256_hex(fingerprints)};
  data.validation_plan = [phases, opened](int64_t step) {
    // Before the first step and after the last the nearest phase is looked at.
    const int64_t near = std::clamp<int64_t>(step - 1, 0, phases->total_steps() - 1);
    const PhaseStep& place = phases->where(near);
    std::vector<ValidationSource> sources;
    for (size_t task = 0; task < (*opened)[place.phase].size(); ++task) {
      sources.push_back((*opened)[place.phase][task].validation);
      sources.back().settings = phases->at(near, task);
    }
    return sources;
  };
  config.train.context = longest;
  data.validation = opened->back().front().validation;
  data.phases = std::move(phases);
}

}  // namespace

TaskData open_task_data(const TaskRequest& request, RunConfig& config) {
  TaskOpener opener(request);
  opener.open_tokenizer(config);
  TaskData data;
  if (opener.tokenizer()) {
    data.tokenizer_model = opener.tokenizer()->serialized();
    data.tokenizer_fingerprint = opener.tokenizer()->fingerprint();
    data.end_token = opener.end_token();
  }
  if (!request.phases.is_null()) {
    open_phases(opener, request, config, data);
    return data;
  }
  Sources sources = opener.open(request.task, config);
  data.train = std::move(sources.train);
  data.validation = std::move(sources.validation);
  // Where guessing has a chance to compare with, the accuracy of one task is told under a name of its own.
  if (data.validation.measures_accuracy && sources.chance == 0) data.validation.task = request.task;
  data.validation_plan = [only = data.validation](int64_t) { return std::vector{only}; };
  data.chance = sources.chance;
  return data;
}

}  // namespace gca::train
