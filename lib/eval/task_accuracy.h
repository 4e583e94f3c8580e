#pragma once
// How often a model is right in the trials of a task (lib/tasks/task_kind.h): it reads each text, predicts
// the answer, and what it retrieved for it is noted.

#include <cstdint>
#include <functional>
#include <vector>

#include "lib/eval/trial_reader.h"
#include "lib/parallel/communicator.h"
#include "lib/tasks/task_kind.h"

namespace gca::eval {

/// Trials in which what is to be found begins in a tenth of the places where it can stand.
struct DepthCount {
  double depth = 0.0;  ///< where that tenth begins: 0 is the start of the text
  int64_t trials = 0;
  int64_t correct = 0;
};

struct TaskAccuracy {
  int64_t text_tokens = 0;  ///< of a trial
  int64_t trials = 0;
  int64_t correct = 0;
  std::vector<DepthCount> depths;  ///< 0, 0.1, ... 0.9
  double seconds = 0;
};

struct TrialPlan {
  int64_t trials = 0;
  int64_t haystacks = 1;  ///< trials take turns at so many beginnings, spread evenly over the haystack
  /// Ranks that share the trials out, as far as can be those of a haystack together; rank 0 has the result. Null: this
  /// process alone.
  parallel::Communicator* ranks = nullptr;
};

/// Numbers of the trials, those of one haystack together.
std::vector<int64_t> trials_by_haystack(const TrialPlan& plan);

/// `haystack_tokens`: of the text that the trials are cut from. `progress` is called after each trial; it may
/// throw to stop.
TaskAccuracy measure_task(tasks::TaskTrials& task, int64_t haystack_tokens, TrialReader& reader,
                          const TrialPlan& plan, const std::function<void(const TaskAccuracy&)>& progress);

}  // namespace gca::eval
