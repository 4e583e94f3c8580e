// What eval says of planted needles and passages, against a reader that goes token by token through the whole text.

#include <ATen/TensorOperators.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <doctest/doctest.h>

#include <set>

#include "lib/eval/task_accuracy.h"
#include "lib/tasks/needles/needle_kinds.h"
#include "lib/tasks/recall/bm25.h"
#include "lib/tasks/recall/recall_kind.h"
#include "lib/tasks/recall/recall_task.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kIds = 24;  // few, so that a random model is right now and then

model::ModelConfig small_config() {
  model::ModelConfig config = tiny_config();
  config.vocab_size = kIds + 1;
  return config;
}

tasks::NeedleTask needle_task(tasks::NeedleKind kind) {
  tasks::NeedlePhrases phrases;
  phrases.open = {0, 1};
  phrases.close = {0};
  phrases.ask = {0, 2};
  phrases.answer = {3};
  phrases.link = {3};
  phrases.value_ids = {4, 5, 6, 7};
  tasks::NeedleSettings settings;
  settings.kind = kind;
  settings.chunk_text = small_config().chunk_text_size();
  settings.value_tokens = 2;
  settings.key_tokens = 2;
  settings.distractors = 1;
  return {settings, phrases};
}

/// Only these may be generated, so that a random model is right often enough to be counted.
std::vector<uint8_t> allowed_ids() {
  std::vector<uint8_t> allowed(kIds + 1, 0);
  for (const size_t id : {3, 4, 5, 6, 7}) allowed[id] = 1;
  return allowed;
}

int64_t most_probable(const at::Tensor& logits) {
  int64_t best = 3;
  for (const int64_t id : {4, 5, 6, 7})
    if (logits[id].item<float>() > logits[best].item<float>()) best = id;
  return best;
}

/// Logits (V) after the last of `text`, the whole of it in one batch.
at::Tensor logits_after(const model::LanguageModel& model, const std::vector<int32_t>& text,
                        const model::ForwardOptions& options = {}) {
  const TextBatch batch = batch_of(text, model.config());
  const at::Tensor logits = logits_in_segments(model, batch.ids, {batch.ids.size(1)}, options).select(0, 0);
  return logits[layout_of(model.config()).position_of(static_cast<int64_t>(text.size()) - 1)];
}

/// Chunks that each group chose at the landmark of chunk `chunk`.
std::vector<std::set<int64_t>> choices_at(const model::LanguageModel& model, const std::vector<int32_t>& text,
                                          int64_t chunk) {
  std::vector<std::set<int64_t>> chosen(static_cast<size_t>(model.config().retrieval_groups));
  model::ForwardOptions options;
  options.observe = [&](const std::string& name, const at::Tensor& value) {
    if (!name.starts_with("idx.")) return;
    const at::Tensor row = value.select(0, 0).select(0, chunk);
    for (int64_t k = 0; k < row.numel(); ++k)
      chosen[std::stoul(name.substr(4))].insert(row[k].item<int64_t>());
  };
  logits_after(model, text, options);
  return chosen;
}

eval::TaskAccuracy measure(const model::LanguageModel& model, tasks::TaskTrials& trials,
                           const data::Haystack& hay, eval::PrefilledText& prefill,
                           const eval::TrialPlan& how) {
  const std::vector<uint8_t> allowed = allowed_ids();
  eval::PrefilledTrialReader reader(model, hay, prefill, allowed);
  return eval::measure_task(trials, hay.token_count(), reader, how, {});
}

data::Haystack haystack() {
  return data::Haystack::of(some_text(900, kIds + 1), "test");
}

}  // namespace

TEST_CASE("Needles: scores and retrieval are those of generating token by token from the whole text") {
  const data::Haystack hay = haystack();
  for (const tasks::NeedleKind kind :
       {tasks::NeedleKind::passkey, tasks::NeedleKind::multikey, tasks::NeedleKind::multihop}) {
    CAPTURE(tasks::name_of(kind));
    const model::LanguageModel model = tiny_model(small_config(), at::kFloat, 5);
    const tasks::NeedleTask task = needle_task(kind);
    const eval::TrialPlan how{.trials = 60, .haystacks = 7};
    const auto prefill = eval::plain_prefill(model, hay, {.segment_positions = 32});
    const auto trials = tasks::needle_trials(task, 100, hay);
    const eval::TaskAccuracy measured = measure(model, *trials, hay, *prefill, how);
    const nlohmann::json told = trials->to_json();
    const auto shortcut = eval::patched_prefill(model, hay, {.segment_positions = 24, .threads = 2});
    const auto shortcut_trials = tasks::needle_trials(task, 100, hay);
    const eval::TaskAccuracy patched = measure(model, *shortcut_trials, hay, *shortcut, how);
    CHECK(patched.correct == measured.correct);
    CHECK(nlohmann::json(shortcut_trials->to_json()) == told);
    CHECK(shortcut->shared_seconds() > 0);

    const int64_t chunks = task.chunks_within(100);
    int64_t correct = 0, exact = 0;
    std::vector<int64_t> retrieved(told["retrieval"].size(), 0);
    std::vector<int64_t> depth_trials(10, 0);
    for (int64_t trial = 0; trial < how.trials; ++trial) {
      const tasks::NeedleText text =
          task.text(tasks::kFirstHeldOut + trial, chunks, 900, trial % 7 * (900 / 7));
      std::vector<int32_t> tokens = tasks::tokens_of(text, hay);
      const tasks::NeedleQuestion& question = text.questions.back();
      const std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + question.first_answer);
      std::vector<int32_t> generated = prompt;
      for (size_t i = 0; i < question.answer.size(); ++i)
        generated.push_back(static_cast<int32_t>(most_probable(logits_after(model, generated))));
      exact += std::equal(question.answer.begin(), question.answer.end(),
                          generated.begin() + question.first_answer);
      if (kind == tasks::NeedleKind::multihop) {
        tokens.pop_back();
        correct += most_probable(logits_after(model, tokens)) == question.answer.back();
      } else {
        correct += generated[prompt.size()] == question.answer.front();
      }
      const auto chosen = choices_at(model, prompt, chunks - 1);
      for (size_t i = 0; i < retrieved.size(); ++i) {
        const tasks::TokenSpan value = question.values[told["retrieval"][i]["needle"].get<size_t>()];
        const auto& group = chosen[told["retrieval"][i]["group"].get<size_t>()];
        retrieved[i] += group.contains(value.first / task.settings().chunk_text) &&
                        group.contains((value.first + value.tokens - 1) / task.settings().chunk_text);
      }
      ++depth_trials[static_cast<size_t>(
          std::min<int64_t>(9, question.values[0].first * 10 / text.needle_room))];
    }
    CHECK(measured.trials == 60);
    CHECK(measured.correct == correct);
    CHECK(told["exact"]["correct"] == exact);
    CHECK(correct > 0);
    CHECK(correct < 60);
    CHECK(retrieved.size() == (kind == tasks::NeedleKind::multihop ? 4U : 2U));
    int64_t any = 0, depth_correct = 0;
    for (size_t i = 0; i < retrieved.size(); ++i) {
      CHECK(told["retrieval"][i]["correct"] == retrieved[i]);
      any += retrieved[i];
    }
    CHECK(any > 0);
    for (size_t tenth = 0; tenth < 10; ++tenth) {
      CHECK(measured.depths[tenth].depth == doctest::Approx(0.1 * static_cast<double>(tenth)));
      CHECK(measured.depths[tenth].trials == depth_trials[tenth]);
      depth_correct += measured.depths[tenth].correct;
    }
    CHECK(depth_correct == correct);
  }
}

TEST_CASE("A sliding-window model is read from where its windows reach, and nothing else changes") {
  model::ModelConfig config = small_config();
  config.long_range = "none";
  config.window_size = 4;
  const model::LanguageModel model = tiny_model(config, at::kFloat, 5);
  const data::Haystack hay = haystack();
  const tasks::NeedleTask task = needle_task(tasks::NeedleKind::passkey);
  const auto prefill = eval::plain_prefill(model, hay, {.segment_positions = 16});
  const eval::TrialPlan how{.trials = 40, .haystacks = 40};
  const auto trials = tasks::needle_trials(task, 200, hay);
  const eval::TaskAccuracy measured = measure(model, *trials, hay, *prefill, how);
  CHECK(trials->to_json()["retrieval"].empty());
  int64_t correct = 0;
  for (int64_t trial = 0; trial < how.trials; ++trial) {
    const tasks::NeedleText text =
        task.text(tasks::kFirstHeldOut + trial, task.chunks_within(200), 900, trial * 22);
    std::vector<int32_t> tokens = tasks::tokens_of(text, hay);
    tokens.resize(static_cast<size_t>(text.questions.back().first_answer));
    correct += most_probable(logits_after(model, tokens)) == text.questions.back().answer.front();
  }
  CHECK(measured.correct == correct);
}

TEST_CASE("Recall: hits of each group, of BM25 and of chance") {
  const model::LanguageModel model = tiny_model(small_config(), at::kFloat, 5);
  const data::Haystack hay = haystack();
  const int64_t chunk_text = small_config().chunk_text_size();
  const tasks::RecallTask task({chunk_text, 3 * chunk_text, 0});
  tasks::TaskSite site;
  site.settings.set(tasks::kRecallChunks, 3);
  site.chunk_text = chunk_text;
  site.context = 100;
  site.retrieval_groups = 2;
  site.chunk_top_k = 2;
  const auto prefill = eval::plain_prefill(model, hay, {.segment_positions = 32});
  const eval::TrialPlan how{.trials = 40, .haystacks = 3};
  const auto trials = tasks::kRecallKind.make_trials(site, hay);
  const eval::TaskAccuracy measured = measure(model, *trials, hay, *prefill, how);
  const nlohmann::json told = trials->to_json();
  const auto shortcut = eval::patched_prefill(model, hay, {.segment_positions = 24});
  const auto shortcut_trials = tasks::kRecallKind.make_trials(site, hay);
  measure(model, *shortcut_trials, hay, *shortcut, how);
  CHECK(nlohmann::json(shortcut_trials->to_json()) == told);

  const int64_t chunks = task.chunks_within(100);
  std::vector<int64_t> group_hits(2, 0);
  int64_t hits = 0, bm25_hits = 0;
  double random_hits = 0;
  for (int64_t trial = 0; trial < how.trials; ++trial) {
    const tasks::RecallText text = task.text(tasks::kFirstHeldOut + trial, chunks, hay, trial % 3 * 300);
    std::vector<int32_t> tokens(static_cast<size_t>(chunks * chunk_text));
    hay.read(text.haystack_first, tokens);
    data::apply_edits(text.edits, 0, tokens);
    const auto is_wanted = [&](int64_t chunk) {
      int64_t inside = 0;
      for (int64_t j = chunk * chunk_text; j < (chunk + 1) * chunk_text; ++j)
        inside += j >= text.first_occurrence && j < text.first_occurrence + 3 * chunk_text;
      return 2 * inside >= chunk_text;
    };
    const auto chosen = choices_at(model, tokens, chunks - 1);
    bool any = false;
    for (size_t group = 0; group < 2; ++group) {
      bool hit = false;
      for (const int64_t chunk : chosen[group]) hit |= is_wanted(chunk);
      group_hits[group] += hit;
      any |= hit;
    }
    hits += any;
    const std::vector<int32_t> query(tokens.end() - chunk_text, tokens.end());
    bool bm25_hit = false;
    for (const int64_t chunk : tasks::bm25_top_k(tokens, chunk_text, chunks - 1, query, 2))
      bm25_hit |= is_wanted(chunk);
    bm25_hits += bm25_hit;
    // Two of the candidates: one less the pairs without a wanted one.
    int64_t missing_pairs = 0, pairs = 0;
    for (int64_t a = 0; a < chunks - 1; ++a)
      for (int64_t b = 0; b < a; ++b) {
        ++pairs;
        missing_pairs += !is_wanted(a) && !is_wanted(b);
      }
    random_hits += 1.0 - static_cast<double>(missing_pairs) / static_cast<double>(pairs);
  }
  CHECK(measured.trials == 40);
  CHECK(measured.correct == hits);
  for (size_t group = 0; group < 2; ++group) CHECK(told["groups"][group]["correct"] == group_hits[group]);
  CHECK(told["bm25"]["correct"] == bm25_hits);
  CHECK(told["random"]["accuracy"].get<double>() == doctest::Approx(random_hits / 40));
  CHECK(bm25_hits > hits);
  CHECK(hits > 0);
}
