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
#include "lib/core/seconds_since.h"
#include "lib/data/chunk_layout.h"
#include "lib/model/text_feeder.h"

namespace gca::eval {
namespace {

size_t bucket_of(int64_t j) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(j / kFirstPositionEnd)));
}

/// Spans of a document that touch, as one: a stride does not begin anew between them.
std::vector<EvalSpan> joined(std::span<const EvalSpan> spans) {
  std::vector<EvalSpan> stretches;
  for (const EvalSpan& span : spans) {
    if (!stretches.empty() && stretches.back().document == span.document &&
        stretches.back().first + stretches.back().tokens == span.first)
      stretches.back().tokens += span.tokens;
    else
      stretches.push_back(span);
  }
  return stretches;
}

/// Runs the stretches of one measurement and adds their losses up.
class StretchScorer {
 public:
  StretchScorer(const model::LanguageModel& model, const data::PieceBytes& pieces,
                const PerplexityOptions& options, const std::function<void(const LossSum&)>& progress)
      : model_(model),
        pieces_(pieces),
        options_(options),
        progress_(progress),
        buckets_(bucket_of(options.context - 1) + 1) {}

  /// Scores a span, stretch after stretch.
  void score(const EvalDocument& document, const EvalSpan& span) {
    begin_document(document, span.document);
    const int64_t stride = options_.stride > 0 ? options_.stride : options_.context;
    const int64_t span_end = span.first + span.tokens;
    const int64_t last = std::min(span_end, document.tokens - 1);  // the last token predicts nothing
    for (int64_t first = span.first, scored = first; scored < last; first += stride) {
      const int64_t end = std::min(first + options_.context, last);
      score_stretch(document, first, end - first, scored - first);
      if (std::min(options_.context, span_end - first) == options_.context) ++result_.full_stretches;
      scored = end;
    }
  }

  Perplexity finish() {
    if (!result_.documents.empty() && result_.documents.back().sum.tokens == 0) result_.documents.pop_back();
    for (size_t i = 0; i < buckets_.size(); ++i) {
      if (buckets_[i].tokens == 0) continue;
      const int64_t to = kFirstPositionEnd << i;
      result_.positions.push_back({i == 0 ? 0 : to / 2, std::min(to, options_.context), buckets_[i]});
    }
    return std::move(result_);
  }

 private:
  void begin_document(const EvalDocument& document, int64_t number) {
    if (!result_.documents.empty() && result_.documents.back().document == number) return;
    if (!result_.documents.empty() && result_.documents.back().sum.tokens == 0) result_.documents.pop_back();
    result_.documents.push_back({number, {}});
    if (pieces_.is_exact) return;
    const data::DocumentBytes bytes =
        data::count_piece_bytes(pieces_, document.tokens, document.source_bytes, document.read);
    source_scale_ = bytes.source_scale();
    result_.unknown_tokens += bytes.unknown_tokens;
  }

  /// Runs `predicting` tokens of `document` from `first` on; the first `skipped` predictions do not count.
  void score_stretch(const EvalDocument& document, int64_t first, int64_t predicting, int64_t skipped) {
    std::vector<int32_t> text(static_cast<size_t>(predicting + 1));
    document.read(first, text);

    model::ForwardOptions forward;
    forward.retriever = options_.retriever;
    forward.seed = options_.seed;
    forward.batch_offset = result_.stretches;  // each stretch draws random chunks of its own
    model::TextFeeder feeder(model_, forward, options_.segment_positions);
    if (options_.memory) feeder.keep_memory_at(*options_.memory);
    feeder.feed(options_.start_tokens, [](const at::Tensor&, int64_t) {});
    const auto start_tokens = static_cast<int64_t>(options_.start_tokens.size());
    const auto tokens = std::span(text).first(static_cast<size_t>(predicting));
    const auto unneeded = static_cast<size_t>(feeder.unneeded(predicting, predicting - skipped));
    feeder.read(tokens.first(unneeded));
    feeder.feed(tokens.subspan(unneeded), [&](const at::Tensor& hidden, int64_t first_text) {
      const int64_t start = first_text - start_tokens;
      const int64_t rows = hidden.size(1);
      const int64_t from = std::max(start, skipped);
      if (from >= start + rows) return;
      const auto targets =
          std::span(text).subspan(static_cast<size_t>(from + 1), static_cast<size_t>(start + rows - from));
      add_losses(hidden.narrow(1, from - start, start + rows - from), targets, from, document, first);
    });
    ++result_.stretches;
  }

  /// Losses of rows of which the first is text token `start` of the stretch.
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
      const LossSum one{nats[i], 1, source_scale_ * pieces_.of_id.at(static_cast<size_t>(targets[i]))};
      result_.total += one;
      result_.documents.back().sum += one;
      buckets_[bucket_of(j)] += one;
      result_.end_tokens += targets[i] == options_.end_token ? 1 : 0;
      if (options_.show_token)
        options_.show_token({&document, stretch_first + j + 1, targets[i], j + 1, one});
    }
    if (progress_) progress_(result_.total);
  }

  const model::LanguageModel& model_;
  const data::PieceBytes& pieces_;
  const PerplexityOptions& options_;
  const std::function<void(const LossSum&)>& progress_;
  std::vector<LossSum> buckets_;
  double source_scale_ = 1.0;  // of the document
  Perplexity result_;
};

}  // namespace

double LossSum::perplexity() const {
  return std::exp(loss());
}

double LossSum::bits_per_byte() const {
  return nats / std::numbers::ln2 / bytes;
}

LossSum& LossSum::operator+=(const LossSum& other) {
  nats += other.nats;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

Perplexity measure_perplexity(const model::LanguageModel& model, std::span<const EvalDocument> documents,
                              std::span<const EvalSpan> spans, const data::PieceBytes& pieces,
                              const PerplexityOptions& options,
                              const std::function<void(const LossSum&)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  StretchScorer scorer(model, pieces, options, progress);
  const bool overlaps = options.stride > 0 && options.stride < options.context;
  const std::vector<EvalSpan> touching = overlaps ? joined(spans) : std::vector<EvalSpan>();
  for (const EvalSpan& span : overlaps ? std::span<const EvalSpan>(touching) : spans)
    scorer.score(documents[static_cast<size_t>(span.document)], span);
  Perplexity result = scorer.finish();
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace gca::eval
