#include "lib/eval/task_accuracy.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "lib/core/seconds_since.h"
#include "lib/parallel/shared_work.h"

namespace gca::eval {
namespace {

constexpr int64_t kDepths = 10;

std::string to_bytes(const nlohmann::json& json) {
  std::string bytes;
  nlohmann::json::to_cbor(json, bytes);
  return bytes;
}

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
  const std::vector<int64_t> numbers = trials_by_haystack(plan);
  const auto begin = [&](int64_t i) {
    const int64_t number = numbers[static_cast<size_t>(i)];
    return task.begin(number, number % plan.haystacks * (haystack_tokens / plan.haystacks));
  };
  const auto count = [&](const tasks::Trial& trial, const tasks::TrialReading& reading) {
    result.text_tokens = trial.text_tokens;
    const tasks::TrialOutcome outcome = task.score(reading);
    const int64_t correct = outcome.is_correct ? 1 : 0;
    ++result.trials;
    result.correct += correct;
    DepthCount& depth =
        result.depths[static_cast<size_t>(std::min(kDepths - 1, outcome.first * kDepths / outcome.room))];
    ++depth.trials;
    depth.correct += correct;
    result.seconds = seconds_since(start);
    if (progress) progress(result);
  };
  const auto trials = static_cast<int64_t>(numbers.size());
  if (plan.ranks == nullptr) {
    for (int64_t i = 0; i < trials; ++i) {
      const tasks::Trial trial = begin(i);
      count(trial, reader.read(trial));
    }
    return result;
  }
  parallel::SharedWork shared;
  shared.name = "trial";
  shared.pieces = trials;
  shared.run = parallel::whole_share(trials, *plan.ranks);
  shared.work = [&](int64_t i) {
    const tasks::TrialReading reading = reader.read(begin(i));
    // Of its own trials a reader knows the cost.
    const nlohmann::json cost = plan.ranks->rank() == 0 ? nlohmann::json() : reader.last_cost();
    return to_bytes({{"retrieved", reading.retrieved}, {"predicted", reading.predicted}, {"cost", cost}});
  };
  shared.take = [&](int64_t i, std::string_view bytes) {
    const nlohmann::json one = nlohmann::json::from_cbor(bytes);
    if (!one["cost"].is_null()) reader.add_cost(one["cost"]);
    tasks::TrialReading reading;
    one["retrieved"].get_to(reading.retrieved);
    one["predicted"].get_to(reading.predicted);
    const tasks::Trial trial = begin(i);  // what score() is about
    count(trial, reading);
  };
  parallel::share_out(*plan.ranks, shared);
  return result;
}

}  // namespace gca::eval
