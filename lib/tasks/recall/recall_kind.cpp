#include "lib/tasks/recall/recall_kind.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/tasks/planted_sequences.h"
#include "lib/tasks/recall/bm25.h"
#include "lib/tasks/recall/recall_task.h"
#include "lib/tasks/share.h"

namespace gca::tasks {
namespace {

using Json = nlohmann::ordered_json;

constexpr const TaskSetting* kSettings[] = {&kRecallChunks};

RecallTask task_of(const TaskSite& site) {
  RecallSettings settings;
  settings.chunk_text = site.chunk_text;
  settings.passage_tokens = site.settings[kRecallChunks] * settings.chunk_text;
  settings.seed = site.seed;
  settings.names = site.names;
  return RecallTask(settings);
}

/// Chunks that lie for at least half of their text within [first, first + tokens).
std::set<int64_t> chunks_within(int64_t first, int64_t tokens, int64_t chunk_text) {
  std::set<int64_t> chunks;
  for (int64_t chunk = first / chunk_text; chunk * chunk_text < first + tokens; ++chunk) {
    const int64_t from = std::max(first, chunk * chunk_text);
    const int64_t to = std::min(first + tokens, (chunk + 1) * chunk_text);
    if (2 * (to - from) >= chunk_text) chunks.insert(chunk);
  }
  return chunks;
}

bool holds_any(const std::vector<int64_t>& chosen, const std::set<int64_t>& wanted) {
  return std::any_of(chosen.begin(), chosen.end(), [&](int64_t chunk) { return wanted.contains(chunk); });
}

/// Probability that K of C chunks, drawn without replacement, hold one of `wanted`.
double chance_of_hit(int64_t wanted, int64_t C, int64_t K) {
  double miss = 1.0;
  for (int64_t k = 0; k < std::min(K, C); ++k)
    miss *= std::max(0.0, static_cast<double>(C - wanted - k)) / static_cast<double>(C - k);
  return 1.0 - miss;
}

/// A trial is a hit where a chosen chunk lies for at least half of its text within the first occurrence. The
/// choice is that of the landmark that closes the last whole chunk, which lies within the repeat; BM25 is
/// asked with the text of that chunk.
class RecallTrials final : public TaskTrials {
 public:
  RecallTrials(const TaskSite& site, const data::Haystack& haystack)
      : task_(task_of(site)),
        haystack_(haystack),
        chunks_(task_.chunks_within(site.context)),
        chunk_top_k_(site.chunk_top_k),
        group_hits_(static_cast<size_t>(site.retrieval_groups), 0) {
    if (group_hits_.empty())
      fail_usage(task_place("recall", site.names),
                 "the checkpoint keeps no chunk memory, from which it would retrieve",
                 "give one with long_range \"gca\"");
  }

  Trial begin(int64_t number, int64_t haystack_first) override {
    text_ = task_.text(kFirstHeldOut + number, chunks_, haystack_, haystack_first);
    Trial trial;
    trial.haystack_first = text_.haystack_first;
    trial.edits = text_.edits;
    trial.text_tokens = trial.read_tokens = chunks_ * chunk_text();
    return trial;
  }

  TrialOutcome score(const TrialReading& reading) override {
    const std::set<int64_t> wanted =
        chunks_within(text_.first_occurrence, task_.settings().passage_tokens, chunk_text());
    bool is_hit = false;
    for (size_t group = 0; group < group_hits_.size(); ++group) {
      const bool is_group_hit = holds_any(reading.retrieved[group], wanted);
      group_hits_[group] += is_group_hit ? 1 : 0;
      is_hit |= is_group_hit;
    }
    // Candidates of the choice: all chunks before that of the landmark.
    std::vector<int32_t> tokens(static_cast<size_t>(chunks_ * chunk_text()));
    haystack_.read(text_.haystack_first, tokens);
    data::apply_edits(text_.edits, 0, tokens);
    const auto query = std::span(tokens).last(static_cast<size_t>(chunk_text()));
    const std::vector<int64_t> bm25 = bm25_top_k(tokens, chunk_text(), chunks_ - 1, query, chunk_top_k_);
    bm25_hits_ += holds_any(bm25, wanted) ? 1 : 0;
    random_hits_ += chance_of_hit(static_cast<int64_t>(wanted.size()), chunks_ - 1, chunk_top_k_);
    ++trials_;
    hits_ += is_hit ? 1 : 0;
    return {is_hit, text_.first_occurrence, text_.passage_room};
  }

  Json to_json() const override {
    Json json;
    json["groups"] = Json::array();
    for (size_t group = 0; group < group_hits_.size(); ++group) {
      Json one{{"group", group}};
      one.update(share_to_json(group_hits_[group], trials_));
      json["groups"].push_back(one);
    }
    json["bm25"] = share_to_json(bm25_hits_, trials_);
    json["random"] = {{"accuracy", random_hits_ / static_cast<double>(trials_)}};
    return json;
  }

  std::string head() const override {
    std::string head = fmt::format("{:<22}  {:<22}  {:<7}", "any group", "BM25", "random");
    for (size_t group = 0; group < group_hits_.size(); ++group) head += fmt::format("  group {}", group);
    return head;
  }

  std::string row() const override {
    std::string row = fmt::format("{:<22}  {:<22}  {}", share_text(hits_, trials_),
                                  share_text(bm25_hits_, trials_), percent_text(random_hits_, trials_));
    for (const int64_t hits : group_hits_) row += "  " + percent_text(static_cast<double>(hits), trials_);
    return row;
  }

  Json config() const override { return {{"passage_tokens", task_.settings().passage_tokens}}; }

 private:
  int64_t chunk_text() const { return task_.settings().chunk_text; }

  RecallTask task_;
  const data::Haystack& haystack_;
  int64_t chunks_;
  int64_t chunk_top_k_;
  RecallText text_;
  int64_t trials_ = 0;
  int64_t hits_ = 0;  ///< of any group
  std::vector<int64_t> group_hits_;
  int64_t bm25_hits_ = 0;   ///< of the K best
  double random_hits_ = 0;  ///< expected of K chunks drawn without replacement
};

std::unique_ptr<TrainingSequences> make_sequences(const TaskSite& site) {
  const RecallTask task = task_of(site);
  // Throws where the passage has no room.
  task.text(0, task.chunks_within(site.context), data::Haystack::of({0}, "recall"));
  return std::make_unique<PlantedSequences<RecallTask>>(task, site);
}

std::unique_ptr<TaskTrials> make_trials(const TaskSite& site, const data::Haystack& haystack) {
  return std::make_unique<RecallTrials>(site, haystack);
}

}  // namespace

constinit const TaskKind kRecallKind{.name = "recall",
                                     .help = "a repeated passage, whose first occurrence is to be retrieved",
                                     .settings = kSettings,
                                     .make_sequences = make_sequences,
                                     .make_trials = make_trials};

}  // namespace gca::tasks
