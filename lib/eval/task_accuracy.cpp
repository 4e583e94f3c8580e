#include "lib/eval/task_accuracy.h"

#include <algorithm>
#include <chrono>

#include "lib/core/seconds_since.h"

namespace gca::eval {
namespace {

constexpr int64_t kDepths = 10;

}  // namespace

std::vector<int64_t> trials_by_haystack(const TrialPlan& plan) {
  std::vector<int64_t> trials;
  for (int64_t haystack = 0; haystack < plan.haystacks; ++haystack)
    for (int64_t trial = haystack; trial < plan.trials; trial += plan.haystacks) trials.push_back(trial);
  return trials;
}

TaskAccuracy measure_task(tasks::TaskTrials& task, int64_t haystack_tokens, TrialReader& reader,
                          const TrialPlan& plan, const std::function<void(const TaskAccuracy&)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  TaskAccuracy result;
  for (int64_t tenth = 0; tenth < kDepths; ++tenth)
    result.depths.push_back({static_cast<double>(tenth) / kDepths, 0, 0});
  for (const int64_t number : trials_by_haystack(plan)) {
    const int64_t haystack_first = number % plan.haystacks * (haystack_tokens / plan.haystacks);
    const tasks::Trial trial = task.begin(number, haystack_first);
    result.text_tokens = trial.text_tokens;
    const tasks::TrialOutcome outcome = task.score(reader.read(trial));
    const int64_t correct = outcome.is_correct ? 1 : 0;
    ++result.trials;
    result.correct += correct;
    DepthCount& depth =
        result.depths[static_cast<size_t>(std::min(kDepths - 1, outcome.first * kDepths / outcome.room))];
    ++depth.trials;
    depth.correct += correct;
    result.seconds = seconds_since(start);
    if (progress) progress(result);
  }
  return result;
}

}  // namespace gca::eval
