#include "lib/eval/task_accuracy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <chrono>
#include <limits>

namespace gca::eval {
namespace {

constexpr int64_t kDepths = 10;

/// Best first, without the empty slots.
std::vector<int64_t> chosen_chunks(const model::Choices& choices) {
  const at::Tensor idx = choices.idx.to(at::kCPU, at::kLong).contiguous();
  std::vector<int64_t> chunks(idx.const_data_ptr<int64_t>(), idx.const_data_ptr<int64_t>() + idx.numel());
  std::erase(chunks, -1);
  return chunks;
}

/// (V) 0 where an id may be generated, minus infinity elsewhere.
at::Tensor penalty_of(std::span<const uint8_t> allowed) {
  std::vector<float> penalty;
  for (const uint8_t is_allowed : allowed)
    penalty.push_back(is_allowed != 0 ? 0.0F : -std::numeric_limits<float>::infinity());
  return at::tensor(penalty);
}

/// The most probable id for each token of the answer: one pass over what stands before them.
std::vector<int32_t> predict_answer(const model::LanguageModel& model, model::TextFeeder& feeder,
                                    const tasks::Trial& trial, const data::Haystack& haystack,
                                    const at::Tensor& penalty) {
  const EditedText text{trial.haystack_first, trial.edits};
  const auto answer_tokens = static_cast<int64_t>(trial.answer.size());
  const int64_t end = trial.first_answer - 1 + answer_tokens;
  std::vector<int32_t> predicted;
  feeder.feed(text.read(haystack, trial.read_tokens, end - trial.read_tokens),
              [&](const at::Tensor& hidden, int64_t) {
                const at::Tensor best =
                    (model.logits(hidden.select(0, 0)).to(at::kCPU) + penalty).argmax(-1).contiguous();
                const auto* ids = best.const_data_ptr<int64_t>();
                for (int64_t i = 0; i < best.numel(); ++i) predicted.push_back(static_cast<int32_t>(ids[i]));
              });
  return {predicted.end() - answer_tokens, predicted.end()};
}

}  // namespace

std::vector<int64_t> trials_by_haystack(const TrialPlan& plan) {
  std::vector<int64_t> trials;
  for (int64_t haystack = 0; haystack < plan.haystacks; ++haystack)
    for (int64_t trial = haystack; trial < plan.trials; trial += plan.haystacks) trials.push_back(trial);
  return trials;
}

TaskAccuracy measure_task(const model::LanguageModel& model, tasks::TaskTrials& task,
                          const data::Haystack& haystack, PrefilledText& prefill, const TrialPlan& plan,
                          std::span<const uint8_t> allowed,
                          const std::function<void(const TaskAccuracy&)>& progress) {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor penalty = penalty_of(allowed);
  TaskAccuracy result;
  for (int64_t tenth = 0; tenth < kDepths; ++tenth)
    result.depths.push_back({static_cast<double>(tenth) / kDepths, 0, 0});
  for (const int64_t number : trials_by_haystack(plan)) {
    const int64_t haystack_first = number % plan.haystacks * (haystack.token_count() / plan.haystacks);
    const tasks::Trial trial = task.begin(number, haystack_first);
    result.text_tokens = trial.text_tokens;

    model::TextFeeder feeder = prefill.prefill({trial.haystack_first, trial.edits}, trial.read_tokens);
    tasks::TrialReading reading;
    for (const model::Choices& group : feeder.past().choices())
      reading.retrieved.push_back(chosen_chunks(group));
    if (!trial.answer.empty()) reading.predicted = predict_answer(model, feeder, trial, haystack, penalty);

    const tasks::TrialOutcome outcome = task.score(reading);
    const int64_t correct = outcome.is_correct ? 1 : 0;
    ++result.trials;
    result.correct += correct;
    DepthCount& depth =
        result.depths[static_cast<size_t>(std::min(kDepths - 1, outcome.first * kDepths / outcome.room))];
    ++depth.trials;
    depth.correct += correct;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(result);
  }
  return result;
}

}  // namespace gca::eval
