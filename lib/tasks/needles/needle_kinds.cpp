#include "lib/tasks/needles/needle_kinds.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "lib/tasks/planted_sequences.h"
#include "lib/tasks/share.h"

namespace gca::tasks {
namespace {

using Json = nlohmann::ordered_json;

constexpr const TaskSetting* kSettings[] = {&kNeedleValueTokens, &kNeedleKeyTokens, &kNeedleDistractors,
                                            &kNeedleHops,        &kNeedleQuestions, &kNeedleTextTargets};

NeedleTask task_of(NeedleKind kind, const TaskSite& site) {
  NeedleSettings settings;
  settings.kind = kind;
  settings.chunk_text = site.chunk_text;
  settings.value_tokens = site.settings[kNeedleValueTokens];
  settings.key_tokens = site.settings[kNeedleKeyTokens];
  settings.distractors = site.settings[kNeedleDistractors];
  settings.hops = site.settings[kNeedleHops];
  settings.questions = site.settings[kNeedleQuestions];
  settings.text_targets = site.settings[kNeedleTextTargets] != 0;
  settings.seed = site.seed;
  settings.names = site.names;
  return {settings, NeedlePhrases::of(kind, *site.tokenizer)};
}

/// Chunks in which a stretch of text stands.
std::set<int64_t> chunks_of(const TokenSpan& span, int64_t chunk_text) {
  std::set<int64_t> chunks;
  for (int64_t j = span.first; j < span.first + span.tokens; ++j) chunks.insert(j / chunk_text);
  return chunks;
}

bool holds_all(const std::vector<int64_t>& chosen, const std::set<int64_t>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](int64_t chunk) {
    return std::find(chosen.begin(), chosen.end(), chunk) != chosen.end();
  });
}

/// An answer is correct where its first token is predicted, which is how the paper counts; that of a chain
/// where its last token is, after the tokens before it. It is exact where all of it is: greedy generation
/// gives an answer exactly where every token of it is the most probable one after those before.
class NeedleTrials final : public TaskTrials {
 public:
  NeedleTrials(NeedleTask task, int64_t context, const data::Haystack& haystack)
      : task_(std::move(task)),
        chunks_(task_.chunks_within(context)),
        haystack_tokens_(haystack.token_count()) {}

  Trial begin(int64_t number, int64_t haystack_first) override {
    number_ = number;
    text_ = task_.text(kFirstHeldOut + number, chunks_, haystack_tokens_, haystack_first);
    const NeedleQuestion& question = text_.questions.back();
    return {text_.haystack_first,  text_.edits,     text_.text_tokens,     chunks_ * chunk_text(),
            question.first_answer, question.answer, question.prompt_tokens};
  }

  TrialOutcome score(const TrialReading& reading) override {
    const NeedleQuestion& question = text_.questions.back();
    if (retrieval_.empty())
      for (size_t group = 0; group < reading.retrieved.size(); ++group)
        for (size_t needle = 0; needle < question.values.size(); ++needle)
          retrieval_.push_back({group, needle, 0});
    for (RetrievalCount& count : retrieval_)
      count.retrieved +=
          holds_all(reading.retrieved[count.group], chunks_of(question.values[count.needle], chunk_text()))
              ? 1
              : 0;
    const bool is_cut =
        std::any_of(question.values.begin(), question.values.end(),
                    [&](const TokenSpan& value) { return chunks_of(value, chunk_text()).size() > 1; });
    const bool is_correct = task_.settings().kind == NeedleKind::multihop
                                ? reading.predicted.back() == question.answer.back()
                                : reading.predicted.front() == question.answer.front();
    const bool is_exact = reading.predicted == question.answer;
    ++trials_;
    correct_ += is_correct ? 1 : 0;
    exact_ += is_exact ? 1 : 0;
    cut_trials_ += is_cut ? 1 : 0;
    cut_exact_ += is_cut && is_exact ? 1 : 0;
    list_trial(reading, is_correct, is_exact);
    return {is_correct, question.values.front().first, text_.needle_room};
  }

  Json to_json() const override {
    Json json;
    json["exact"] = share_to_json(exact_, trials_);
    json["retrieval"] = Json::array();
    for (const RetrievalCount& count : retrieval_) {
      Json one{{"group", count.group}, {"needle", count.needle}};
      one.update(share_to_json(count.retrieved, trials_));
      json["retrieval"].push_back(one);
    }
    json["cut"] = {{"trials", cut_trials_}};
    json["cut"].update(share_to_json(cut_exact_, cut_trials_));
    json["trial_list"] = trial_list_;
    return json;
  }

  std::string head() const override {
    std::string head = fmt::format("{:<22}  {:<22}", "answer token", "whole answer");
    for (const RetrievalCount& count : retrieval_)
      head += fmt::format("  g{} n{}  ", count.group, count.needle);
    return head + "  cut values";
  }

  std::string row() const override {
    std::string row =
        fmt::format("{:<22}  {:<22}", share_text(correct_, trials_), share_text(exact_, trials_));
    for (const RetrievalCount& count : retrieval_)
      row += "  " + percent_text(static_cast<double>(count.retrieved), trials_);
    if (cut_trials_ > 0) row += fmt::format("  {} of {}", cut_exact_, cut_trials_);
    return row;
  }

 private:
  /// How often a group's choice for the answer holds every chunk in which a value of the question stands.
  struct RetrievalCount {
    size_t group = 0;
    size_t needle = 0;  ///< number of the hop; 0 where there is one needle
    int64_t retrieved = 0;
  };

  int64_t chunk_text() const { return task_.settings().chunk_text; }

  void list_trial(const TrialReading& reading, bool is_correct, bool is_exact) {
    Json one{{"trial", number_}, {"correct", is_correct}, {"exact", is_exact}};
    one["values"] = Json::array();
    for (const TokenSpan& value : text_.questions.back().values)
      one["values"].push_back({{"first", value.first}, {"tokens", value.tokens}});
    one["retrieved"] = reading.retrieved;
    trial_list_.push_back(std::move(one));
  }

  NeedleTask task_;
  int64_t chunks_;
  int64_t haystack_tokens_;
  int64_t number_ = 0;
  NeedleText text_;
  int64_t trials_ = 0;
  int64_t correct_ = 0;
  int64_t exact_ = 0;
  int64_t cut_trials_ = 0;  ///< a value of the question is cut in two by a chunk border
  int64_t cut_exact_ = 0;
  std::vector<RetrievalCount> retrieval_;  ///< by group, then needle; empty without retrieval
  Json trial_list_ = Json::array();
};

template <NeedleKind kind>
std::unique_ptr<TrainingSequences> make_sequences(const TaskSite& site) {
  NeedleTask task = task_of(kind, site);
  task.text(0, task.chunks_within(site.context), 1);  // throws where the needles have no room
  return std::make_unique<PlantedSequences<NeedleTask>>(std::move(task), site);
}

template <NeedleKind kind>
std::unique_ptr<TaskTrials> make_trials(const TaskSite& site, const data::Haystack& haystack) {
  return needle_trials(task_of(kind, site), site.context, haystack);
}

}  // namespace

std::unique_ptr<TaskTrials> needle_trials(NeedleTask task, int64_t context, const data::Haystack& haystack) {
  return std::make_unique<NeedleTrials>(std::move(task), context, haystack);
}

constinit const TaskKind kPasskeyKind{.name = "passkey",
                                      .help = "a planted value, asked for at the end",
                                      .settings = kSettings,
                                      .make_sequences = make_sequences<NeedleKind::passkey>,
                                      .make_trials = make_trials<NeedleKind::passkey>};
constinit const TaskKind kMultikeyKind{.name = "multikey",
                                       .help = "one of several planted values, asked for by its key",
                                       .settings = kSettings,
                                       .make_sequences = make_sequences<NeedleKind::multikey>,
                                       .make_trials = make_trials<NeedleKind::multikey>};
constinit const TaskKind kMultihopKind{.name = "multihop",
                                       .help = "a chain of planted keys, to be followed to its end",
                                       .settings = kSettings,
                                       .make_sequences = make_sequences<NeedleKind::multihop>,
                                       .make_trials = make_trials<NeedleKind::multihop>};
constinit const TaskKind kNumberKind{
    .name = "number",
    .help = "a planted number, told and asked for in words that a pretrained model knows",
    .settings = kSettings,
    .make_sequences = make_sequences<NeedleKind::number>,
    .make_trials = make_trials<NeedleKind::number>};

}  // namespace gca::tasks
