#pragma once
// Training sequences of a task that plants something in the chunks of a haystack.

#include <string>
#include <utility>

#include <fmt/format.h>

#include "lib/tasks/task_kind.h"

namespace gca::tasks {

/// `Task` makes batches of as many chunks as a context has room for, and says what decides them.
template <class Task>
class PlantedSequences final : public TrainingSequences {
 public:
  PlantedSequences(Task task, const TaskSite& site)
      : task_(std::move(task)),
        layout_(site.layout),
        context_(site.context),
        chunks_(task_.chunks_within(site.context)) {}

  data::Batch batch(int64_t first, int64_t rows, const data::Haystack& haystack) const override {
    return task_.batch(first, rows, chunks_, haystack, layout_);
  }
  std::string fingerprint() const override {
    return fmt::format("{} chunks={}", task_.fingerprint(), chunks_);
  }
  int64_t context() const override { return context_; }

 private:
  Task task_;
  data::ChunkLayout layout_;
  int64_t context_;
  int64_t chunks_;
};

}  // namespace gca::tasks
