#include "lib/eval/perplexity.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <numbers>

#include "lib/core/error.h"
#include "lib/data/chunk_layout.h"
#include "lib/model/text_feeder.h"

namespace gca::eval {
namespace {

size_t bucket_of(int64_t j) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(j / kFirstPositionEnd)));
}

/// Runs the stretches of one measurement and adds their losses up.
class StretchScorer {
 public:
  StretchScorer(const model::LanguageModel& model, std::span<const int32_t> piece_bytes,
                const PerplexityOptions& options, const std::function<void(const LossSum&)>& progress)
      : model_(model),
        piece_bytes_(piece_bytes),
        options_(options),
        progress_(progress),
        buckets_(bucket_of(options.context - 1) + 1) {}

  /// Scores `tokens` tokens of `document` from `first` on.
  void score(const EvalDocument& document, int64_t first, int64_t tokens) {
    const int64_t predicting = std::min(tokens, document.tokens - 1 - first);
    if (predicting <= 0) return;
    std::vector<int32_t> text(static_cast<size_t>(predicting + 1));
    document.read(first, text);

    model::ForwardOptions forward;
    forward.retriever = options_.retriever;
    forward.seed = options_.seed;
    forward.batch_offset = result_.stretches;  // each stretch draws random chunks of its own
    model::TextFeeder feeder(model_, forward, options_.segment_positions);
    if (options_.memory) feeder.keep_memory_at(*options_.memory);
    feeder.feed(
        std::span(text).first(static_cast<size_t>(predicting)), [&](const at::Tensor& hidden, int64_t start) {
          const auto targets =
              std::span(text).subspan(static_cast<size_t>(start + 1), static_cast<size_t>(hidden.size(1)));
          add_losses(hidden, targets, start, document, first);
        });
    ++result_.stretches;
    if (tokens == options_.context) ++result_.full_stretches;
  }

  Perplexity finish() {
    for (size_t i = 0; i < buckets_.size(); ++i) {
      if (buckets_[i].tokens == 0) continue;
      const int64_t to = kFirstPositionEnd << i;
      result_.positions.push_back({i == 0 ? 0 : to / 2, std::min(to, options_.context), buckets_[i]});
    }
    return std::move(result_);
  }

 private:
  /// Losses of a segment whose first row is text token `start` of the stretch.
  void add_losses(const at::Tensor& hidden, std::span<const int32_t> targets, int64_t start,
                  const EvalDocument& document, int64_t stretch_first) {
    const at::NoGradGuard no_grad;
    at::Tensor target_row = at::empty({1, static_cast<int64_t>(targets.size())}, at::kLong);
    std::copy(targets.begin(), targets.end(), target_row.mutable_data_ptr<int64_t>());
    const at::Tensor losses =
        model_.loss(hidden, target_row).per_target.to(at::kCPU, at::kDouble).contiguous();
    const double* nats = losses.const_data_ptr<double>();
    for (size_t i = 0; i < targets.size(); ++i) {
      const int64_t j = start + static_cast<int64_t>(i);
      if (!std::isfinite(nats[i])) {
        fail_run(document.name, fmt::format("the loss of token {} is not finite", stretch_first + j + 1),
                 "the checkpoint may have diverged");
      }
      const LossSum one{nats[i], 1, piece_bytes_[static_cast<size_t>(targets[i])]};
      result_.total += one;
      buckets_[bucket_of(j)] += one;
    }
    if (progress_) progress_(result_.total);
  }

  const model::LanguageModel& model_;
  std::span<const int32_t> piece_bytes_;
  const PerplexityOptions& options_;
  const std::function<void(const LossSum&)>& progress_;
  std::vector<LossSum> buckets_;
  Perplexity result_;
};

}  // namespace

double LossSum::perplexity() const {
  return std::exp(loss());
}

double LossSum::bits_per_byte() const {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

LossSum& LossSum::operator+=(const LossSum& other) {
  nats += other.nats;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

Perplexity measure_perplexity(const model::LanguageModel& model, std::span<const EvalDocument> documents,
                              std::span<const EvalSpan> spans, std::span<const int32_t> piece_bytes,
                              const PerplexityOptions& options,
                              const std::function<void(const LossSum&)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  StretchScorer scorer(model, piece_bytes, options, progress);
  for (const EvalSpan& span : spans) {
    const EvalDocument& document = documents[static_cast<size_t>(span.document)];
    for (int64_t done = 0; done < span.tokens; done += options.context)
      scorer.score(document, span.first + done, std::min(options.context, span.tokens - done));
  }
  Perplexity result = scorer.finish();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace gca::eval
