#include "lib/eval/prefilled_text.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "lib/core/seconds_since.h"
#include "lib/model/memory/memory_reader.h"

namespace gca::eval {
namespace {

std::unique_ptr<model::StoredChunkMemory> memory_at(const model::LanguageModel& model,
                                                    const model::MemoryPlace& place) {
  return std::make_unique<model::StoredChunkMemory>(model.config(), model.compute_dtype(), place);
}

class PlainPrefill final : public PrefilledText {
 public:
  PlainPrefill(const model::LanguageModel& model, const data::Haystack& haystack, PrefillOptions options)
      : model_(model), haystack_(haystack), options_(std::move(options)) {}

  model::TextFeeder prefill(const EditedText& text, int64_t tokens) override {
    // What nothing reaches back to is left out.
    int64_t first = std::max<int64_t>(0, tokens - model::reach_of(model_.config()).text);
    model::TextFeeder feeder(model_, options_.forward, options_.segment_positions);
    feeder.keep_memory_at(options_.memory);
    if (first == 0) feeder.feed(options_.start_tokens, [](const at::Tensor&, int64_t) {});
    while (first < tokens) {
      const int64_t count = std::min(tokens - first, feeder.room());
      feeder.feed(text.read(haystack_, first, count), [](const at::Tensor&, int64_t) {});
      first += count;
      if (options_.progress) options_.progress(first);
    }
    return feeder;
  }

 private:
  const model::LanguageModel& model_;
  const data::Haystack& haystack_;
  PrefillOptions options_;
};

class PatchedPrefill final : public PrefilledText {
 public:
  PatchedPrefill(const model::LanguageModel& model, const data::Haystack& haystack, PrefillOptions options)
      : model_(model), haystack_(haystack), options_(std::move(options)) {}

  model::TextFeeder prefill(const EditedText& text, int64_t tokens) override {
    const model::ModelConfig& config = model_.config();
    const int64_t chunk_text = config.chunk_text_size();
    const int64_t chunks = tokens / chunk_text;
    TORCH_CHECK(tokens == chunks * chunk_text, "prefill: ", tokens, " tokens are not whole chunks");
    read_haystack(text.haystack_first, chunks);

    const auto memory = haystack_memory_->first_chunks(chunks);
    const model::MemoryReader reader(
        model_,
        [this, &text](int64_t first, std::span<int32_t> out) {
          haystack_.read(text.haystack_first + first, out);
          data::apply_edits(text.edits, first, out);
        },
        options_.segment_positions);
    for (const data::TextEdit& edit : text.edits)
      reader.update(*memory, edit.first, std::min(edit.end(), tokens));

    // The last landmark's retrieval is the first result that is wanted.
    const int64_t first_wanted = chunks * config.chunk_size - 1;
    const int64_t begin =
        std::max<int64_t>(0, (first_wanted - model::reach_of(config).upper) / config.chunk_size);
    model::TextFeeder feeder(model_, options_.forward, options_.segment_positions);
    feeder.start_from(reader.past_at(begin, memory->first_chunks(begin)));
    feeder.feed(text.read(haystack_, begin * chunk_text, (chunks - begin) * chunk_text),
                [](const at::Tensor&, int64_t) {});
    return feeder;
  }

  double shared_seconds() const override { return shared_seconds_; }

 private:
  void read_haystack(int64_t haystack_first, int64_t chunks) {
    if (haystack_memory_ && haystack_first_ == haystack_first && haystack_memory_->chunk_count() == chunks)
      return;
    const auto start = std::chrono::steady_clock::now();
    haystack_memory_ = nullptr;  // its file or RAM is free before the next needs it
    auto memory = memory_at(model_, options_.memory);
    model::ReadMemoryOptions how;
    how.threads = options_.threads;
    how.segment_positions = options_.segment_positions;
    if (options_.progress)
      how.progress = [this](int64_t done) { options_.progress(done * model_.config().chunk_text_size()); };
    model::read_memory(
        model_,
        [this, haystack_first](int64_t first, std::span<int32_t> out) {
          haystack_.read(haystack_first + first, out);
        },
        chunks, *memory, how);
    haystack_memory_ = std::move(memory);
    haystack_first_ = haystack_first;
    shared_seconds_ += seconds_since(start);
  }

  const model::LanguageModel& model_;
  const data::Haystack& haystack_;
  PrefillOptions options_;
  std::unique_ptr<model::StoredChunkMemory> haystack_memory_;
  int64_t haystack_first_ = 0;
  double shared_seconds_ = 0;
};

}  // namespace

std::vector<int32_t> EditedText::read(const data::Haystack& haystack, int64_t first, int64_t count) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  haystack.read(haystack_first + first, tokens);
  data::apply_edits(edits, first, tokens);
  return tokens;
}

std::unique_ptr<PrefilledText> plain_prefill(const model::LanguageModel& model,
                                             const data::Haystack& haystack, const PrefillOptions& options) {
  return std::make_unique<PlainPrefill>(model, haystack, options);
}

std::unique_ptr<PrefilledText> patched_prefill(const model::LanguageModel& model,
                                               const data::Haystack& haystack,
                                               const PrefillOptions& options) {
  return std::make_unique<PatchedPrefill>(model, haystack, options);
}

}  // namespace gca::eval
