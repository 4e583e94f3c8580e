// Texts read under cache policies: what is said of an answer is what the whole text in one batch says, where a
// policy leaves nothing out, and its cost is counted.

#include "lib/eval/policy_reader.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/log_softmax.h>
#include <doctest/doctest.h>

#include <cmath>

#include "lib/eval/answer_perplexity.h"
#include "lib/eval/task_accuracy.h"
#include "lib/eval/trial_reader.h"
#include "lib/tasks/needles/needle_kinds.h"
#include "tests/support/one_batch.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

constexpr int64_t kIds = 40;

model::ModelConfig full_config() {
  model::ModelConfig config = tiny_config();
  config.self_attention = "full";
  config.long_range = "none";
  return config;
}

/// Settings under which no policy leaves anything out of a text of 100 tokens.
model::KvPolicy wide_policy(const std::string& name) {
  model::KvPolicy policy;
  policy.name = name;
  policy.window = 200;
  policy.quantile = 0;
  policy.recycled_rows = 200;
  policy.kept = 200;
  return policy;
}

/// -log p of the last `count` tokens of `text`, in one batch.
double direct_nats(const model::LanguageModel& model, std::span<const int32_t> text, size_t count) {
  const at::Tensor log_p = at::log_softmax(one_batch_logits(model, text), -1);
  double nats = 0;
  for (size_t j = text.size() - count; j < text.size(); ++j)
    nats -= log_p[static_cast<int64_t>(j) - 1][text[j]].item<double>();
  return nats;
}

}  // namespace

TEST_CASE("policies: answers of whole stretches, as one batch predicts them, where nothing is left out") {
  const model::LanguageModel model = tiny_model(full_config(), at::kFloat, 3);
  const std::vector<int32_t> text = some_text(230, kIds, 5);
  const std::vector<eval::EvalDocument> documents = {eval::eval_document("text", text, 0)};
  const auto spans = eval::choose_eval_spans(documents, 100, 0);
  const double nats = direct_nats(model, std::span(text).first(100), 12) +
                      direct_nats(model, std::span(text).subspan(100, 100), 12);
  for (const std::string& name : model::kv_policy_names()) {
    CAPTURE(name);
    eval::PolicyReader reader(model, {.policy = wide_policy(name), .segment_positions = 32});
    const eval::AnswerPerplexity measured = eval::measure_answers(reader, documents, spans, {100, 12, 9}, {});
    CHECK(measured.stretches == 2);
    CHECK(measured.total.tokens == 24);
    CHECK(measured.total.nats == doctest::Approx(nats).epsilon(1e-5));
    CHECK(reader.cost().steps == 22);
    CHECK(reader.cost().seconds > 0);
  }
}

TEST_CASE("policies: start tokens stand before every text") {
  const model::LanguageModel model = tiny_model(full_config(), at::kFloat, 3);
  std::vector<int32_t> text = {7, 8};
  const std::vector<int32_t> rest = some_text(60, kIds, 5);
  text.insert(text.end(), rest.begin(), rest.end());
  const std::vector<eval::EvalDocument> documents = {eval::eval_document("text", rest, 0)};
  const auto spans = eval::choose_eval_spans(documents, 60, 0);
  eval::PolicyReader reader(model, {.policy = {}, .start_tokens = {7, 8}});
  const eval::AnswerPerplexity measured = eval::measure_answers(reader, documents, spans, {60, 10, 5}, {});
  CHECK(measured.total.nats == doctest::Approx(direct_nats(model, text, 10)).epsilon(1e-5));

  const std::vector<int32_t> bytes(kIds, 1);
  const eval::Perplexity plain =
      eval::measure_perplexity(model, documents, spans, {bytes}, {.context = 60, .start_tokens = {7, 8}}, {});
  CHECK(plain.total.nats == doctest::Approx(direct_nats(model, text, 59)).epsilon(1e-5));
}

TEST_CASE("policies: what steps read is counted, and what a policy leaves out") {
  const model::ModelConfig config = full_config();
  const model::LanguageModel model = tiny_model(config, at::kFloat, 3);
  const std::vector<int32_t> text = some_text(100, kIds, 5);
  const auto cost_of = [&](const model::KvPolicy& policy) {
    eval::PolicyReader reader(model, {.policy = policy});
    reader.read(std::span(text).first(80), 9, std::span(text).subspan(80), [](const at::Tensor&) {});
    return reader.cost();
  };
  // Steps read 81, 82, .. 99 rows.
  const double row_bytes = 2.0 * static_cast<double>(config.n_kv_heads * config.head_dim()) * sizeof(float);
  const int64_t layers = config.n_lower_layers + config.n_upper_layers;
  const double rows = 19 * 90.0 * static_cast<double>(layers);
  const eval::StepCost full = cost_of({});
  CHECK(full.steps == 19);
  CHECK(full.bytes_per_step() == doctest::Approx(rows * row_bytes / 19));
  CHECK(full.reads.share_read() == 1.0);
  CHECK(full.share_of_full_steps() == 1.0);
  model::KvPolicy window;
  window.name = "window";
  window.window = 30;
  const eval::StepCost narrow = cost_of(window);
  CHECK(narrow.reads.share_read() == doctest::Approx(30.0 / 90.0));
  CHECK(narrow.cache_bytes < full.cache_bytes);
  model::KvPolicy recycled;
  recycled.name = "recycled";
  recycled.stride = 5;
  recycled.similarity = 1;  // each fifth step reads all
  const eval::StepCost listed = cost_of(recycled);
  CHECK(listed.full_steps == std::vector<int64_t>(static_cast<size_t>(layers), 3));
  CHECK(listed.share_of_full_steps() == doctest::Approx(3.0 / 19.0));
}

TEST_CASE("policies: trials read token by token are answered as those that were prefilled") {
  const model::LanguageModel model = tiny_model(full_config(), at::kFloat, 5);
  const data::Haystack hay = data::Haystack::of(some_text(900, kIds, 2), "test");
  tasks::NeedlePhrases phrases;
  phrases.open = {0, 1};
  phrases.close = {0};
  phrases.ask = {0, 2};
  phrases.value_ids = {4, 5, 6, 7};
  tasks::NeedleSettings settings;
  settings.chunk_text = full_config().chunk_text_size();
  settings.value_tokens = 3;
  std::vector<uint8_t> allowed(static_cast<size_t>(model.config().vocab_size), 0);
  for (const size_t id : {4, 5, 6, 7}) allowed[id] = 1;
  const eval::TrialPlan plan{.trials = 40, .haystacks = 3};

  const auto prefill = eval::plain_prefill(model, hay, {.segment_positions = 32});
  eval::PrefilledTrialReader prefilled(model, hay, *prefill, allowed);
  const auto trials = tasks::needle_trials(tasks::NeedleTask(settings, phrases), 100, hay);
  const auto at_once = eval::measure_task(*trials, hay.token_count(), prefilled, plan, {});
  CHECK(at_once.correct > 0);
  CHECK(at_once.correct < 40);
  for (const std::string& name : model::kv_policy_names()) {
    CAPTURE(name);
    eval::PolicyReader policy(model, {.policy = wide_policy(name)});
    eval::PolicyTrialReader reader(hay, policy, allowed);
    const auto again = tasks::needle_trials(tasks::NeedleTask(settings, phrases), 100, hay);
    CHECK(eval::measure_task(*again, hay.token_count(), reader, plan, {}).correct == at_once.correct);
    CHECK(again->to_json()["exact"] == trials->to_json()["exact"]);
  }
}
