#include "apps/gca-tensor/eval_planted.h"

#include <algorithm>

#include <fmt/format.h>

#include "apps/gca-tensor/eval_texts.h"
#include "apps/gca/common_options.h"
#include "apps/gca/interrupt.h"
#include "lib/core/error.h"
#include "lib/eval/needle_accuracy.h"
#include "lib/eval/recall_rate.h"
#include "lib/eval/wilson_interval.h"

namespace gca {
namespace {

using Json = nlohmann::ordered_json;

/// Tokens that are read for haystacks of their own before trials share them.
constexpr int64_t kReadTokens = int64_t{4} << 20;

Haystack open_haystack(const EvalOptions& options, const TextModel& model) {
  if (options.data.empty()) {
    std::vector<int32_t> tokens;
    for (const EvalDocument& document : encode_inputs(options, model.tokenizer)) {
      const size_t before = tokens.size();
      tokens.resize(before + static_cast<size_t>(document.tokens));
      document.read(0, std::span(tokens).subspan(before));
    }
    return Haystack::of(std::move(tokens), "INPUT");
  }
  const auto data = open_data(options, model);
  if (const auto* tokens = std::get_if<TokenStore>(&data)) return Haystack::of(*tokens);
  const auto& index = std::get<SequenceIndex>(data);
  return Haystack::of(index, entries_of(index, split_of(options)));
}

NeedleTask needle_task(const EvalOptions& options, const TextModel& model) {
  NeedleSettings settings;
  settings.kind = options.task == "passkey"    ? NeedleKind::passkey
                  : options.task == "multikey" ? NeedleKind::multikey
                                               : NeedleKind::multihop;
  settings.chunk_text = model.model.config().chunk_text_size();
  settings.value_tokens = options.value_tokens;
  settings.key_tokens = options.key_tokens;
  settings.distractors = options.distractors;
  settings.hops = options.hops;
  settings.seed = options.common.seed;
  return {settings, NeedlePhrases::of(settings.kind, model.tokenizer)};
}

RecallTask recall_task(const EvalOptions& options, const TextModel& model) {
  const int64_t chunk_text = model.model.config().chunk_text_size();
  if (options.passage_chunks > (int64_t{1} << 20))
    fail_usage("--passage-chunks", fmt::format("{} is out of range", options.passage_chunks),
               "give at most 1M");
  return RecallTask({chunk_text, options.passage_chunks * chunk_text, options.common.seed});
}

Json share_to_json(int64_t correct, int64_t trials) {
  const WilsonInterval interval = wilson_interval(correct, trials);
  return {{"correct", correct},
          {"accuracy", trials > 0 ? static_cast<double>(correct) / static_cast<double>(trials) : 0.0},
          {"low", interval.low},
          {"high", interval.high}};
}

/// "98.5 % (96.1 to 99.5)"
std::string share_text(int64_t correct, int64_t trials) {
  const WilsonInterval interval = wilson_interval(correct, trials);
  return fmt::format("{:5.1f} % ({:.1f} to {:.1f})",
                     100.0 * static_cast<double>(correct) / static_cast<double>(std::max<int64_t>(trials, 1)),
                     100 * interval.low, 100 * interval.high);
}

Json needles_to_json(const NeedleAccuracy& result) {
  Json json = share_to_json(result.correct, result.trials);
  json["exact"] = share_to_json(result.exact, result.trials);
  json["retrieval"] = Json::array();
  for (const RetrievalCount& count : result.retrieval) {
    Json one{{"group", count.group}, {"needle", count.needle}};
    one.update(share_to_json(count.retrieved, result.trials));
    json["retrieval"].push_back(one);
  }
  json["cut"] = {{"trials", result.cut_trials}};
  json["cut"].update(share_to_json(result.cut_exact, result.cut_trials));
  json["trial_list"] = Json::array();
  for (const NeedleTrial& trial : result.trial_list) {
    Json one{{"trial", trial.trial}, {"correct", trial.is_correct}, {"exact", trial.is_exact}};
    one["values"] = Json::array();
    for (const TokenSpan& value : trial.values)
      one["values"].push_back({{"first", value.first}, {"tokens", value.tokens}});
    one["retrieved"] = trial.retrieved;
    json["trial_list"].push_back(std::move(one));
  }
  return json;
}

Json recall_to_json(const RecallRate& result) {
  Json json = share_to_json(result.hits, result.trials);
  json["groups"] = Json::array();
  for (size_t group = 0; group < result.group_hits.size(); ++group) {
    Json one{{"group", group}};
    one.update(share_to_json(result.group_hits[group], result.trials));
    json["groups"].push_back(one);
  }
  json["bm25"] = share_to_json(result.bm25_hits, result.trials);
  json["random"] = {{"accuracy", result.random_hits / static_cast<double>(result.trials)}};
  return json;
}

/// A line of the table for a context.
std::string line_of(const std::string& retriever, int64_t context, const NeedleAccuracy& result) {
  std::string line =
      fmt::format("{:>9}  {:9} {:>7}  {:<22}  {:<22}", context, retriever, result.trials,
                  share_text(result.correct, result.trials), share_text(result.exact, result.trials));
  for (const RetrievalCount& count : result.retrieval)
    line += fmt::format("  {:5.1f} %",
                        100.0 * static_cast<double>(count.retrieved) / static_cast<double>(result.trials));
  if (result.cut_trials > 0) line += fmt::format("  {} of {}", result.cut_exact, result.cut_trials);
  return line + "\n";
}

std::string line_of(const std::string& retriever, int64_t context, const RecallRate& result) {
  std::string line =
      fmt::format("{:>9}  {:9} {:>7}  {:<22}  {:<22}  {:5.1f} %", context, retriever, result.trials,
                  share_text(result.hits, result.trials), share_text(result.bm25_hits, result.trials),
                  100.0 * result.random_hits / static_cast<double>(result.trials));
  for (const int64_t hits : result.group_hits)
    line +=
        fmt::format("  {:5.1f} %", 100.0 * static_cast<double>(hits) / static_cast<double>(result.trials));
  return line + "\n";
}

std::string head_of(const NeedleAccuracy& result) {
  std::string head = fmt::format("{:>9}  {:9} {:>7}  {:<22}  {:<22}", "context", "retriever", "trials",
                                 "answer token", "whole answer");
  for (const RetrievalCount& count : result.retrieval)
    head += fmt::format("  g{} n{}  ", count.group, count.needle);
  return head + "  cut values\n";
}

std::string head_of(const RecallRate& result) {
  std::string head = fmt::format("{:>9}  {:9} {:>7}  {:<22}  {:<22}  {:<7}", "context", "retriever", "trials",
                                 "any group", "BM25", "random");
  for (size_t group = 0; group < result.group_hits.size(); ++group) head += fmt::format("  group {}", group);
  return head + "\n";
}

int64_t haystacks_of(const EvalOptions& options, int64_t context) {
  if (options.haystacks > 0) return std::min(options.haystacks, options.trials);
  return std::clamp<int64_t>(kReadTokens / context, 1, options.trials);
}

/// Measures every context with every retriever; `measure_one` gets the way to read and the trials.
template <class MeasureOne, class ToJson>
void measure(const EvalOptions& options, const TextModel& model, const Haystack& haystack, JsonReport& report,
             const MeasureOne& measure_one, const ToJson& to_json) {
  std::string table;
  report.result["contexts"] = Json::array();
  report.result["depths"] = Json::array();
  for (const int64_t context : options.contexts) {
    for (const std::string& retriever : retrievers_of(options, model.model.config())) {
      PrefillOptions reading;
      reading.forward.retriever = retriever_of(retriever);
      reading.forward.seed = options.common.seed;
      reading.segment_positions = options.segment_positions;
      reading.memory = MemoryPlace::of(options.memory, options.memory_dtype);
      reading.threads = thread_count(options.common);
      reading.progress = [&](int64_t tokens) {
        throw_if_interrupted();
        if (shows_progress(options.common) && tokens >= (1 << 20))
          fmt::print(stderr, "\rcontext {}  {:.1f}M tokens read ", context,
                     static_cast<double>(tokens) / (1 << 20));
      };
      const bool patched = model.model.config().uses_retrieval() && !options.full_prefill;
      const auto prefill = patched ? patched_prefill(model.model, haystack, reading)
                                   : plain_prefill(model.model, haystack, reading);
      const NeedleTrials how{context, options.trials, haystacks_of(options, context)};
      const auto result = measure_one(*prefill, how, fmt::format("context {}  {}", context, retriever));
      Json row{{"context", context}, {"retriever", retriever}, {"trials", result.trials}};
      row.update(to_json(result));
      row["text_tokens"] = result.text_tokens;
      row["haystacks"] = how.haystacks;
      row["prefill"] = patched ? "patched" : "full";
      row["seconds"] = result.seconds;
      row["haystack_seconds"] = prefill->shared_seconds();
      report.result["contexts"].push_back(row);
      for (const DepthCount& depth : result.depths)
        report.result["depths"].push_back({{"context", context},
                                           {"retriever", retriever},
                                           {"depth", depth.depth},
                                           {"trials", depth.trials},
                                           {"correct", depth.correct}});
      if (table.empty()) table = head_of(result);
      table += line_of(retriever, context, result);
    }
  }
  finish_report(report, options.common, "", table);
}

}  // namespace

void eval_planted(const EvalOptions& options, const TextModel& model, JsonReport& report) {
  if (options.contexts.empty())
    fail_usage("--context", "is missing", "give one or more, such as --context 4K,64K");
  if (options.trials < 1) fail_usage("--trials", "0 trials tell nothing", "give 1 or more");
  const Haystack haystack = open_haystack(options, model);
  const bool shows = shows_progress(options.common);
  const auto show = [&](const std::string& what, int64_t trials, int64_t correct) {
    throw_if_interrupted();
    if (shows) fmt::print(stderr, "\r{}  {} of {} trials, {} right ", what, trials, options.trials, correct);
    if (shows && trials == options.trials) fmt::print(stderr, "\r\033[K");
  };
  report.config["trials"] = options.trials;
  report.config["memory"] = options.memory;
  report.config["memory_dtype"] = options.memory_dtype;
  report.result["haystack_tokens"] = haystack.token_count();
  if (options.task == "recall") {
    const RecallTask task = recall_task(options, model);
    report.config["passage_tokens"] = task.settings().passage_tokens;
    measure(
        options, model, haystack, report,
        [&](PrefilledText& prefill, const NeedleTrials& how, const std::string& what) {
          return measure_recall(model.model, task, haystack, prefill, how,
                                [&](const RecallRate& result) { show(what, result.trials, result.hits); });
        },
        recall_to_json);
    return;
  }
  const NeedleTask task = needle_task(options, model);
  report.config["value_tokens"] = options.value_tokens;
  report.config["key_tokens"] = options.key_tokens;
  report.config["distractors"] = options.distractors;
  report.config["hops"] = options.hops;
  const std::vector<uint8_t> allowed = model.text_ids();
  measure(
      options, model, haystack, report,
      [&](PrefilledText& prefill, const NeedleTrials& how, const std::string& what) {
        return measure_needles(
            model.model, task, haystack, prefill, how, allowed,
            [&](const NeedleAccuracy& result) { show(what, result.trials, result.correct); });
      },
      needles_to_json);
}

}  // namespace gca
