#pragma once
// Tasks that threads take one by one: a thread that was held up (by its processor's other work, by uneven
// tasks) leaves the rest to the others. Which thread runs a task must not matter to its result.

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace gca::kernels {

class TaskQueue {
 public:
  explicit TaskQueue(int64_t count) : count_(count) {}

  /// The next task's number in `task`; false when none is left.
  bool take(int64_t& task) {
    task = next_.fetch_add(1, std::memory_order_relaxed);
    return task < count_;
  }

 private:
  int64_t count_;
  std::atomic<int64_t> next_{0};
};

/// Runs `work(queue)` in up to as many threads as there are tasks; each takes tasks until none is left.
template <typename Work>
void run_tasks(int64_t count, const Work& work) {
  TaskQueue queue(count);
  const int64_t threads = std::min<int64_t>(count, at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    // One range is one thread's, whatever its length.
    if (begin < end) work(queue);
  });
}

}  // namespace gca::kernels
