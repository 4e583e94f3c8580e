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
#include "lib/core/packed_bytes.h"
#include "lib/core/seconds_since.h"
#include "lib/data/chunk_layout.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/text_feeder.h"
#include "lib/parallel/shared_work.h"

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

/// What is scored from an empty past.
struct Stretch {
  const EvalDocument* document = nullptr;
  int64_t document_number = 0;
  int64_t number = 0;  ///< among all stretches
  int64_t first = 0;   ///< token of the document
  int64_t predicting =
      0;  ///< tokens from there on that predict their next; 0: the document has nothing to predict
  int64_t skipped = 0;   ///< predictions at its beginning that do not count
  bool is_full = false;  ///< of as many tokens as the context

  int64_t counted() const { return predicting - skipped; }
};

std::vector<Stretch> stretches_of(std::span<const EvalDocument> documents, std::span<const EvalSpan> spans,
                                  const PerplexityOptions& options) {
  const int64_t stride = options.stride > 0 ? options.stride : options.context;
  std::vector<Stretch> stretches;
  int64_t number = 0;
  for (const EvalSpan& span : spans) {
    const EvalDocument& document = documents[static_cast<size_t>(span.document)];
    const int64_t span_end = span.first + span.tokens;
    const int64_t last = std::min(span_end, document.tokens - 1);  // the last token predicts nothing
    if (span.first >= last) stretches.push_back({&document, span.document, number, span.first});
    for (int64_t first = span.first, scored = first; scored < last; first += stride) {
      const int64_t end = std::min(first + options.context, last);
      const bool is_full = std::min(options.context, span_end - first) == options.context;
      stretches.push_back({&document, span.document, number++, first, end - first, scored - first, is_full});
      scored = end;
    }
  }
  return stretches;
}

/// Losses of consecutive predictions of a stretch, the first of its text token `start`.
using LossSink =
    std::function<void(int64_t start, std::span<const int32_t> targets, std::span<const double> nats)>;

/// Of the chunks that a stretch closes, (1, c, e); undefined where nothing chooses by them.
at::Tensor chunk_vectors_of(const model::ModelConfig& config, const Stretch& stretch) {
  const int64_t e = stretch.document->vector_size;
  if (e == 0 || !model::chooses_by_vectors(config)) return {};
  const int64_t chunk_text = config.chunk_text_size();
  at::Tensor vectors = at::empty({1, stretch.predicting / chunk_text, e}, at::kFloat);
  stretch.document->read_vectors(stretch.first / chunk_text,
                                 {vectors.mutable_data_ptr<float>(), static_cast<size_t>(vectors.numel())});
  return vectors;
}

/// Runs a stretch through the model.
void score(const model::LanguageModel& model, const PerplexityOptions& options, const Stretch& stretch,
           const LossSink& sink) {
  if (stretch.predicting == 0) return;
  std::vector<int32_t> text(static_cast<size_t>(stretch.predicting + 1));
  stretch.document->read(stretch.first, text);

  model::ForwardOptions forward;
  forward.retriever = options.retriever;
  forward.seed = options.seed;
  forward.batch_offset = stretch.number;  // each stretch draws random chunks of its own
  forward.chunk_vectors = chunk_vectors_of(model.config(), stretch);
  model::TextFeeder feeder(model, forward, options.segment_positions);
  if (options.memory) feeder.keep_memory_at(*options.memory);
  feeder.feed(options.start_tokens, [](const at::Tensor&, int64_t) {});
  const auto start_tokens = static_cast<int64_t>(options.start_tokens.size());
  const auto tokens = std::span(text).first(static_cast<size_t>(stretch.predicting));
  const auto unneeded = static_cast<size_t>(feeder.unneeded(stretch.predicting, stretch.counted()));
  feeder.read(tokens.first(unneeded));
  feeder.feed(tokens.subspan(unneeded), [&](const at::Tensor& hidden, int64_t first_text) {
    const int64_t start = first_text - start_tokens;
    const int64_t rows = hidden.size(1);
    const int64_t from = std::max(start, stretch.skipped);
    if (from >= start + rows) return;
    const auto targets =
        std::span(text).subspan(static_cast<size_t>(from + 1), static_cast<size_t>(start + rows - from));
    const at::NoGradGuard no_grad;
    at::Tensor target_row = at::empty({1, static_cast<int64_t>(targets.size())}, at::kLong);
    std::copy(targets.begin(), targets.end(), target_row.mutable_data_ptr<int64_t>());
    const at::Tensor losses = model.loss(hidden.narrow(1, from - start, start + rows - from), target_row)
                                  .per_target.to(at::kCPU, at::kDouble)
                                  .contiguous();
    const std::span nats(losses.const_data_ptr<double>(), targets.size());
    for (size_t i = 0; i < nats.size(); ++i)
      if (!std::isfinite(nats[i]))
        fail_run(stretch.document->name,
                 fmt::format("the loss of token {} is not finite",
                             stretch.first + from + static_cast<int64_t>(i) + 1),
                 "the checkpoint may have diverged");
    sink(from, targets, nats);
  });
}

/// Adds the losses of stretches up, in their order.
class LossTally {
 public:
  LossTally(const data::PieceBytes& pieces, const PerplexityOptions& options)
      : pieces_(pieces), options_(options), buckets_(bucket_of(options.context - 1) + 1) {}

  const LossSum& total() const { return result_.total; }

  void begin(const Stretch& stretch) {
    if (result_.documents.empty() || result_.documents.back().document != stretch.document_number)
      begin_document(*stretch.document, stretch.document_number);
  }

  void add(const Stretch& stretch, int64_t start, std::span<const int32_t> targets,
           std::span<const double> nats) {
    for (size_t i = 0; i < targets.size(); ++i) {
      const int64_t j = start + static_cast<int64_t>(i);
      const LossSum one{nats[i], 1, source_scale_ * pieces_.of_id.at(static_cast<size_t>(targets[i]))};
      result_.total += one;
      result_.documents.back().sum += one;
      buckets_[bucket_of(j)] += one;
      result_.end_tokens += targets[i] == options_.end_token ? 1 : 0;
      if (options_.show_token)
        options_.show_token({stretch.document, stretch.first + j + 1, targets[i], j + 1, one});
    }
  }

  void end(const Stretch& stretch) {
    result_.stretches += stretch.predicting > 0 ? 1 : 0;
    result_.full_stretches += stretch.is_full ? 1 : 0;
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
    if (!result_.documents.empty() && result_.documents.back().sum.tokens == 0) result_.documents.pop_back();
    result_.documents.push_back({number, {}});
    if (pieces_.is_exact) return;
    const data::DocumentBytes bytes =
        data::count_piece_bytes(pieces_, document.tokens, document.source_bytes, document.read);
    source_scale_ = bytes.source_scale();
    result_.unknown_tokens += bytes.unknown_tokens;
  }

  const data::PieceBytes& pieces_;
  const PerplexityOptions& options_;
  std::vector<LossSum> buckets_;
  double source_scale_ = 1.0;  // of the document
  Perplexity result_;
};

using Progress = std::function<void(const LossSum&)>;

void score_alone(const model::LanguageModel& model, std::span<const Stretch> stretches,
                 const PerplexityOptions& options, const Progress& progress, LossTally& tally) {
  for (const Stretch& stretch : stretches) {
    tally.begin(stretch);
    score(model, options, stretch,
          [&](int64_t start, std::span<const int32_t> targets, std::span<const double> nats) {
            tally.add(stretch, start, targets, nats);
            if (progress) progress(tally.total());
          });
    tally.end(stretch);
  }
}

/// Stretches in a row that a rank scores before it meets the others: short ones together.
std::vector<std::span<const Stretch>> pieces_of(std::span<const Stretch> stretches) {
  constexpr int64_t kPieceTokens = int64_t{1} << 13;
  std::vector<std::span<const Stretch>> pieces;
  for (size_t first = 0, end = 0; first < stretches.size(); first = end) {
    for (int64_t tokens = 0; end < stretches.size() && tokens < kPieceTokens; ++end)
      tokens += stretches[end].predicting;
    pieces.push_back(stretches.subspan(first, end - first));
  }
  return pieces;
}

void score_shared(const model::LanguageModel& model, std::span<const Stretch> stretches,
                  const PerplexityOptions& options, const Progress& progress, LossTally& tally) {
  const std::vector<std::span<const Stretch>> pieces = pieces_of(stretches);
  parallel::SharedWork shared;
  shared.name = "piece of text";
  shared.pieces = static_cast<int64_t>(pieces.size());
  shared.work = [&](int64_t piece) {
    std::string bytes;  // the losses, as they lie in memory
    for (const Stretch& stretch : pieces[static_cast<size_t>(piece)])
      score(model, options, stretch, [&](int64_t, std::span<const int32_t>, std::span<const double> nats) {
        pack(bytes, nats.data(), nats.size());
        if (progress) progress(tally.total());
      });
    return bytes;
  };
  shared.take = [&](int64_t piece, std::string_view bytes) {
    for (const Stretch& stretch : pieces[static_cast<size_t>(piece)]) {
      const auto count = static_cast<size_t>(stretch.counted());
      std::vector<int32_t> targets(count);
      std::vector<double> nats(count);
      if (count > 0) stretch.document->read(stretch.first + stretch.skipped + 1, targets);
      unpack(bytes, nats.data(), count);
      tally.begin(stretch);
      tally.add(stretch, stretch.skipped, targets, nats);
      tally.end(stretch);
    }
  };
  parallel::share_out(*options.ranks, shared);
}

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
  const bool overlaps = options.stride > 0 && options.stride < options.context;
  const std::vector<EvalSpan> touching = overlaps ? joined(spans) : std::vector<EvalSpan>();
  const std::vector<Stretch> stretches =
      stretches_of(documents, overlaps ? std::span<const EvalSpan>(touching) : spans, options);
  LossTally tally(pieces, options);
  if (options.ranks == nullptr)
    score_alone(model, stretches, options, progress, tally);
  else
    score_shared(model, stretches, options, progress, tally);
  Perplexity result = tally.finish();
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace gca::eval
