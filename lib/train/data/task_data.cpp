#include "lib/train/data/task_data.h"

#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "lib/core/checksums/sha256.h"
#include "lib/core/error.h"
#include "lib/data/haystack.h"
#include "lib/data/sequence_blend.h"
#include "lib/data/sequence_loader.h"
#include "lib/model/backbone_kinds.h"
#include "lib/tasks/task_kinds.h"
#include "lib/text/tokenizer.h"
#include "lib/train/data/weighted_data.h"

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

/// Of the data in `folder`, for models that choose by them.
std::optional<data::ChunkVectors> open_vectors(const std::string& folder, const data::SequenceIndex& index,
                                               const RunConfig& config) {
  if (!model::chooses_by_vectors(config.model)) return {};
  const data::ChunkVectors vectors =
      data::ChunkVectors::open(folder, index.tokens(), config.model.chunk_size);
  for (const auto& entries : {index.train(), index.valid()})
    vectors.require_on_chunks(index.settings(), entries, folder);
  return vectors;
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

/// The sequences of all `loaders` once, one loader after the other.
std::function<data::Batch(int64_t, int64_t)> one_after_the_other(std::vector<data::SequenceLoader> loaders) {
  return [loaders = std::move(loaders)](int64_t consumed, int64_t rows) {
    if (loaders.size() == 1) return loaders.front().batch(consumed, rows);
    std::vector<data::Batch> single;
    for (int64_t i = consumed; i < consumed + rows; ++i) {
      int64_t number = i;
      size_t set = 0;
      while (number >= loaders[set].sequence_count()) number -= loaders[set++].sequence_count();
      single.push_back(loaders[set].batch(number, 1));
    }
    return data::stack_batches(single);
  };
}

/// Text tokens of one pass over the training split.
int64_t train_tokens(const data::SequenceIndex& index) {
  int64_t tokens = 0;
  for (const data::SequenceEntry& entry : index.train()) tokens += entry.tokens;
  return tokens;
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
  explicit TaskOpener(const TaskRequest& request) : request_(request) {
    for (const std::string& word : request.data) sets_.push_back(parse_weighted_data(word));
  }

  /// Loads the tokenizer of the data, where there is data, and completes the vocabulary of `config`.
  void open_tokenizer(RunConfig& config) {
    if (sets_.empty()) return;
    const std::string& first = sets_.front().folder;
    const data::TokenStore tokens = open_sequences(first, config).tokens();
    tokenizer_ = load_tokenizer(tokens);
    end_token_ = tokens.end_token();
    take_vocabulary(*tokenizer_, first, config);
    for (const WeightedData& set : sets_)
      require_same_tokenizer(open_sequences(set.folder, config), "--data " + set.folder);
  }

  const std::optional<text::Tokenizer>& tokenizer() const { return tokenizer_; }
  int32_t end_token() const { return end_token_; }

  /// Completes `config` with the length of a sequence, where the data decides it.
  Sources open(const std::string& task, RunConfig& config) const {
    const tasks::TaskKind* kind = tasks::find_task_kind(task);
    if (task != tasks::kTextTask && (kind == nullptr || kind->make_sequences == nullptr))
      fail_usage("--task " + task, "no such task to train on", "gca pretrain --help lists them");
    if (kind != nullptr)
      model::require_choice_without_vectors(config.model, "--set retriever", "a text of task " + task);
    if (sets_.empty() && (kind == nullptr || kind->reads_data))
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
    require_same_tokenizer(valid, "--valid " + request_.valid);
    return valid;
  }

  void require_same_tokenizer(const data::SequenceIndex& index, const std::string& where) const {
    if (index.tokens().tokenizer_fingerprint() == tokenizer_->fingerprint()) return;
    const std::string& first = sets_.front().folder;
    fail_usage(
        where, "made with another tokenizer than " + first,
        "run gca tokenize with --tokenizer " + data::SequenceIndex::open(first).tokens().tokenizer_path());
  }

  /// Of each data set; all of one size, so that their rows may be of one batch.
  std::vector<std::optional<data::ChunkVectors>> open_all_vectors(
      const std::vector<data::SequenceIndex>& indexes, const RunConfig& config) const;

  /// The length of a sequence is that of the data, the same in all of it.
  void take_context(const data::SequenceIndex& index, const WeightedData& set, RunConfig& config) const;
  BatchSource train_source(const std::vector<data::SequenceIndex>& indexes,
                           const std::vector<std::optional<data::ChunkVectors>>& vectors,
                           const data::ChunkLayout& layout, const data::PieceBytes& piece_bytes) const;

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
    if (sets_.size() > 1 && request_.phases.is_null())
      fail_usage("--data", "only the task text reads several data sets", "give one");
    // Beside text, in phases, something is planted in the first.
    const data::SequenceIndex index = data::SequenceIndex::open(sets_.front().folder, settings);
    const data::SequenceIndex valid = open_valid(index, config);
    const data::Haystack train = data::Haystack::of(index, index.train());
    const bool is_other = !request_.valid.empty() || !index.valid().empty();
    return {train, is_other ? data::Haystack::of(valid, valid.held_out()) : train, index.fingerprint()};
  }

  const TaskRequest& request_;
  std::vector<WeightedData> sets_;
  std::optional<text::Tokenizer> tokenizer_;
  int32_t end_token_ = -1;
};

void TaskOpener::take_context(const data::SequenceIndex& index, const WeightedData& set,
                              RunConfig& config) const {
  const int64_t context = index.settings().context;
  if (context == config.train.context) return;
  if (&set != &sets_.front())
    fail_usage("--data " + set.folder,
               fmt::format("its sequences have {} tokens, those of {} have {}", context, sets_.front().folder,
                           config.train.context),
               fmt::format("run gca chunk with --context {}", config.train.context));
  if (config.explicit_keys.contains("context"))
    fail_usage(
        "--set context",
        fmt::format("{} tokens, the sequences of {} have {}", config.train.context, set.folder, context),
        "leave context out, or run gca chunk with --context");
  config.train.context = context;
}

std::vector<std::optional<data::ChunkVectors>> TaskOpener::open_all_vectors(
    const std::vector<data::SequenceIndex>& indexes, const RunConfig& config) const {
  std::vector<std::optional<data::ChunkVectors>> all;
  for (size_t i = 0; i < indexes.size(); ++i) {
    all.push_back(open_vectors(sets_[i].folder, indexes[i], config));
    if (all.back() && all.back()->size() != all.front()->size())
      fail_usage("--data " + sets_[i].folder,
                 fmt::format("its chunk vectors have {} numbers, those of {} have {}", all.back()->size(),
                             sets_.front().folder, all.front()->size()),
                 "write vectors of one size");
  }
  return all;
}

BatchSource TaskOpener::train_source(const std::vector<data::SequenceIndex>& indexes,
                                     const std::vector<std::optional<data::ChunkVectors>>& vectors,
                                     const data::ChunkLayout& layout,
                                     const data::PieceBytes& piece_bytes) const {
  std::vector<data::SequenceLoader> loaders;
  std::vector<DataUse> uses;
  std::vector<double> sequence_shares;
  std::string fingerprints;
  double weights = 0;
  for (const WeightedData& set : sets_) weights += set.weight;
  for (size_t i = 0; i < sets_.size(); ++i) {
    const data::SequenceIndex& index = indexes[i];
    // Another order in each set, so that a data set that is given twice is not read in step.
    loaders.emplace_back(index, std::vector(index.train().begin(), index.train().end()), layout,
                         request_.seed + i, true, piece_bytes, vectors[i]);
    const int64_t tokens = train_tokens(index);
    const int64_t sequences = loaders.back().sequence_count();
    uses.push_back({sets_[i].folder, sets_[i].weight / weights, sequences, tokens, 0.0});
    // A weight is one of tokens: where the sequences are short, more of them are read.
    sequence_shares.push_back(sets_[i].weight * static_cast<double>(sequences) /
                              static_cast<double>(std::max<int64_t>(tokens, 1)));
    fingerprints += index.fingerprint() + " " + (vectors[i] ? vectors[i]->fingerprint() + " " : "");
  }
  const auto blend =
      std::make_shared<const data::SequenceBlend>(std::move(loaders), data::BlendOrder(sequence_shares));
  BatchSource source;
  source.uses = [uses, blend](int64_t consumed) {
    const std::vector<int64_t> counts = blend->order().counts(consumed);
    std::vector<DataUse> now = uses;
    for (size_t i = 0; i < now.size(); ++i)
      now[i].passes = static_cast<double>(counts[i]) / static_cast<double>(now[i].sequences);
    return now;
  };
  source.batch = [blend](int64_t consumed, int64_t rows) { return blend->batch(consumed, rows); };
  const bool is_plain = sets_.size() == 1 && !vectors.front();
  source.fingerprint =
      is_plain ? indexes.front().fingerprint() : sha256_hex(fingerprints + blend->order().text());
  return source;
}

Sources TaskOpener::open_text(RunConfig& config) const {
  std::vector<data::SequenceIndex> indexes;
  for (const WeightedData& set : sets_) {
    indexes.push_back(open_sequences(set.folder, config));
    take_context(indexes.back(), set, config);
  }
  const data::ChunkLayout layout = layout_of(config.model);
  const data::PieceBytes piece_bytes = data::PieceBytes::of(*tokenizer_);
  std::vector<std::optional<data::ChunkVectors>> vectors = open_all_vectors(indexes, config);
  Sources sources;
  sources.train = train_source(indexes, vectors, layout, piece_bytes);

  // Of several data sets with validation data each gives its share of the sequences.
  std::vector<data::SequenceLoader> held_out;
  std::vector<double> weights;
  for (const WeightedData& set : sets_) weights.push_back(set.weight);
  std::vector<int64_t> quotas = data::BlendOrder(weights).counts(config.train.eval_sequences);
  if (!request_.valid.empty()) {
    indexes = {open_valid(indexes.front(), config)};
    vectors = {open_vectors(request_.valid, indexes.front(), config)};
    quotas = {config.train.eval_sequences};
  }
  for (size_t i = 0; i < indexes.size(); ++i) {
    std::vector<data::SequenceEntry> entries =
        spread_choice(request_.valid.empty() ? indexes[i].valid() : indexes[i].held_out(), quotas[i]);
    sources.validation.sequences += static_cast<int64_t>(entries.size());
    sources.validation.source.fingerprint += indexes[i].fingerprint();
    if (!entries.empty())
      held_out.emplace_back(indexes[i], std::move(entries), layout, 0, false, piece_bytes, vectors[i]);
  }
  sources.validation.batch = config.train.batch;
  if (!held_out.empty()) sources.validation.source.batch = one_after_the_other(std::move(held_out));
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

/// The passes of all streams of text together; what a pass is, by the first of them.
std::vector<DataUse> added_uses(const TrainingPhases& phases, const std::vector<std::vector<Sources>>& opened,
                                int64_t consumed) {
  std::vector<DataUse> total;
  std::set<size_t> added;
  for (size_t phase = 0; phase < opened.size(); ++phase)
    for (size_t task = 0; task < opened[phase].size(); ++task) {
      const BatchSource& source = opened[phase][task].train;
      const size_t stream = phases.phases()[phase].tasks[task].stream;
      if (!source.uses || !added.insert(stream).second) continue;
      const std::vector<DataUse> uses = source.uses(phases.sequences_of_stream(stream, consumed));
      if (total.empty())
        total = uses;
      else
        for (size_t set = 0; set < uses.size(); ++set) total[set].passes += uses[set].passes;
    }
  return total;
}

/// What the plan says of the data. How long a phase takes is decided while it runs.
std::string plan_without_lengths(nlohmann::json plan) {
  for (nlohmann::json& phase : plan["phases"]) phase.erase("steps");
  return plan.dump();
}

/// The tasks of all phases as one source, each step's batch from its task.
void open_phases(const TaskOpener& opener, const TaskRequest& request, RunConfig& config, TaskData& data) {
  auto phases = std::make_shared<TrainingPhases>(request.phases, config, "--phases");
  auto opened = std::make_shared<std::vector<std::vector<Sources>>>();
  std::string fingerprints = plan_without_lengths(request.phases);
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
                  return sources.train.batch(step.stream_sequences + consumed - step.sequences, rows);
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
  const auto reads_text = [](const Sources& sources) { return static_cast<bool>(sources.train.uses); };
  if (std::any_of(opened->begin(), opened->end(), [&](const std::vector<Sources>& phase) {
        return std::any_of(phase.begin(), phase.end(), reads_text);
      }))
    data.train.uses = [phases, opened](int64_t consumed) { return added_uses(*phases, *opened, consumed); };
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
    data.tokenizer_file = opener.tokenizer()->serialized();
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
