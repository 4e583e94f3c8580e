#include "lib/tasks/self_copy/self_copy_kind.h"

#include "lib/core/error.h"
#include "lib/tasks/self_copy/self_copy_task.h"

namespace gca::tasks {
namespace {

constexpr const TaskSetting* kSettings[] = {&kCopyChunks, &kCopyShifted};

class SelfCopySequences final : public TrainingSequences {
 public:
  explicit SelfCopySequences(const SelfCopyTask& task) : task_(task) {}

  data::Batch batch(int64_t first, int64_t rows, const data::Haystack& /*haystack*/) const override {
    return task_.batch(first, rows);
  }
  std::string fingerprint() const override { return task_.fingerprint(); }
  int64_t context() const override { return task_.text_tokens(); }
  double chance() const override { return task_.chance(); }

 private:
  SelfCopyTask task_;
};

std::unique_ptr<TrainingSequences> make_sequences(const TaskSite& site) {
  if (site.ids == 0)
    fail_usage("--task self-copy", "no vocabulary", "give --set vocab_size=N, or --data for a tokenizer's");
  SelfCopySettings settings;
  settings.passage_tokens = site.settings[kCopyChunks] * site.chunk_text;
  settings.ids = site.ids;
  settings.seed = site.seed;
  settings.shift_tokens = site.settings[kCopyShifted] != 0 ? site.chunk_text : 0;
  return std::make_unique<SelfCopySequences>(SelfCopyTask(settings, site.layout));
}

}  // namespace

constinit const TaskKind kSelfCopyKind{.name = "self-copy",
                                       .help = "random tokens, then the same again",
                                       .settings = kSettings,
                                       .make_sequences = make_sequences,
                                       .reads_data = false,
                                       .takes_context = false};

}  // namespace gca::tasks
