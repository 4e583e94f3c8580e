#pragma once
// A kind of task: an entry of the list in task_kinds.h, which gca pretrain, gca eval, their help and the
// phases of a training run read. A kind makes sequences to train on, or trials to measure a model by, or
// both. Training on the text itself and measuring perplexity are not kinds: they make nothing.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/data/haystack.h"
#include "lib/data/sequence_loader.h"
#include "lib/data/text_edit.h"
#include "lib/tasks/task_settings.h"
#include "lib/text/tokenizer.h"

namespace gca::tasks {

/// Sequences and trials from this number on are never trained on. Numbers are below 2^32.
inline constexpr int64_t kFirstHeldOut = int64_t{1} << 31;

/// What a task is made for: a model, its tokenizer, and how long the texts may be.
struct TaskSite {
  TaskSettings settings;
  SettingNames names = SettingNames::keys;  ///< how errors name settings
  data::ChunkLayout layout;
  int64_t chunk_text = 0;                      ///< S-1: text tokens of a chunk
  int64_t context = 0;                         ///< text tokens of a text at most
  const text::Tokenizer* tokenizer = nullptr;  ///< null for none: only where the kind reads no data
  int64_t ids = 0;                             ///< ids of text are below this; 0: not known
  int64_t retrieval_groups = 0;                ///< of the model; 0: it retrieves nothing
  int64_t chunk_top_k = 0;                     ///< chunks that a group retrieves
  uint64_t seed = 0;
};

/// Sequences to train on, each a pure function of its number.
class TrainingSequences {
 public:
  virtual ~TrainingSequences() = default;
  /// Sequences [first, first + rows). `haystack` is the text of --data; empty for a kind that reads none.
  virtual data::Batch batch(int64_t first, int64_t rows, const data::Haystack& haystack) const = 0;
  /// Names the task and its settings: resuming a run with others is refused.
  virtual std::string fingerprint() const = 0;
  /// Text tokens of a sequence, at most.
  virtual int64_t context() const = 0;
  /// Accuracy of guessing; 0 where it is not known.
  virtual double chance() const { return 0.0; }
};

/// One trial: a stretch of the haystack with edits, and what is asked of a model that reads it.
struct Trial {
  int64_t haystack_first = 0;         ///< number of the haystack's token that is text token 0
  std::vector<data::TextEdit> edits;  ///< in the order of the text
  int64_t text_tokens = 0;
  int64_t read_tokens = 0;      ///< whole chunks: what the last of their landmarks retrieves is looked at
  int64_t first_answer = 0;     ///< text index, above read_tokens
  std::vector<int32_t> answer;  ///< what the text goes on with there; empty where nothing is predicted
  int64_t question_tokens = 0;  ///< before the answer: they ask for it
};

/// What a model did in a trial.
struct TrialReading {
  std::vector<std::vector<int64_t>> retrieved;  ///< chunks, best first, by group; empty without retrieval
  std::vector<int32_t> predicted;  ///< for each token of the answer the most probable id after those before
};

struct TrialOutcome {
  bool is_correct = false;
  int64_t first = 0;  ///< text index where what is to be found begins
  int64_t room = 1;   ///< it can begin below this
};

/// The trials of one context, in turn, and what came of them.
class TaskTrials {
 public:
  virtual ~TaskTrials() = default;
  /// Makes trial `number`, whose text begins at token `haystack_first` of the haystack.
  virtual Trial begin(int64_t number, int64_t haystack_first) = 0;
  /// Counts what a model did in the trial that was begun last.
  virtual TrialOutcome score(const TrialReading& reading) = 0;

  /// What a report's row of this context says beyond trials, correct, accuracy, low and high.
  virtual nlohmann::ordered_json to_json() const = 0;
  /// The heading of row().
  virtual std::string head() const = 0;
  /// The shares on the screen, the share of correct trials first, in columns of 22 characters.
  virtual std::string row() const = 0;
  /// What the configuration in a report says beyond the settings.
  virtual nlohmann::ordered_json config() const { return nlohmann::ordered_json::object(); }
};

struct TaskKind {
  using MakeSequences = std::unique_ptr<TrainingSequences> (*)(const TaskSite& site);
  using MakeTrials = std::unique_ptr<TaskTrials> (*)(const TaskSite& site, const data::Haystack& haystack);

  const char* name;  ///< of --task
  const char* help;  ///< half a line
  std::span<const TaskSetting* const> settings;
  MakeSequences make_sequences = nullptr;  ///< nullptr: it cannot be trained on
  MakeTrials make_trials = nullptr;        ///< nullptr: it cannot be measured
  bool reads_data = true;                  ///< plants something in the text of --data
  bool takes_context = true;               ///< the context says how long its texts are
};

}  // namespace gca::tasks
