#include "lib/model/text_feeder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/model/memory/stored_chunk_memory.h"

namespace gca::model {
namespace {

at::Tensor row_of(const std::vector<int64_t>& values) {
  at::Tensor row = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), row.mutable_data_ptr<int64_t>());
  return row;
}

}  // namespace

int64_t default_segment_positions(const ModelConfig& config) {
  constexpr int64_t kActivationBytes = int64_t{256} << 20;
  constexpr int64_t kMost = 8192;
  // Alive at once: the inner layer of the MLP three times, and some eight tensors of the width of the model,
  // in fp32.
  const int64_t bytes_per_position = 4 * (3 * config.ff_size() + 8 * config.d_model);
  const int64_t chunk = std::max<int64_t>(config.chunk_size, 1);
  const int64_t fitting = std::min(kActivationBytes / bytes_per_position, kMost) / chunk * chunk;
  const int64_t longer_than_window = (config.window_size / chunk + 1) * chunk;
  return std::max(fitting, longer_than_window);
}

std::unique_ptr<Past> begin_with_memory_at(const LanguageModel& model, const MemoryPlace& place,
                                           int64_t position) {
  std::unique_ptr<Past> past = model.begin(position);
  if (past->memory() != nullptr)
    past->keep_memory_in(std::make_unique<StoredChunkMemory>(model.config(), model.compute_dtype(), place));
  return past;
}

TextFeeder::TextFeeder(const LanguageModel& model, ForwardOptions options, int64_t segment_positions)
    : model_(model),
      options_(std::move(options)),
      layout_(chunk_layout_of(model.config())),
      segment_positions_(segment_positions > 0 ? segment_positions
                                               : default_segment_positions(model.config())),
      past_(model.begin()) {
  const int64_t chunk = std::max<int64_t>(layout_.chunk_size, 1);
  segment_positions_ = (segment_positions_ + chunk - 1) / chunk * chunk;
  // On a device its memory is the past's own: it lies where it is read.
  if (model.compute_dtype() != at::kDouble && model.device().is_cpu()) keep_memory_at(MemoryPlace{});
}

void TextFeeder::keep_memory_at(const MemoryPlace& place) {
  past_ = begin_with_memory_at(model_, place);
}

TextFeeder::Segment TextFeeder::segment_of(std::span<const int32_t> text) const {
  Segment segment;
  for (const int32_t token : text) {
    segment.text_rows.push_back(static_cast<int64_t>(segment.ids.size()));
    segment.ids.push_back(token);
    if (layout_.is_landmark(past_->position() + static_cast<int64_t>(segment.ids.size())))
      segment.ids.push_back(layout_.landmark_id);
  }
  return segment;
}

void TextFeeder::feed(std::span<const int32_t> text, const Sink& sink) {
  const at::NoGradGuard no_grad;
  while (!text.empty()) {
    const int64_t first_text = text_count();
    const auto piece = text.first(std::min(static_cast<size_t>(room()), text.size()));
    text = text.subspan(piece.size());
    const Segment segment = segment_of(piece);
    at::Tensor hidden = model_.forward(row_of(segment.ids).unsqueeze(0), *past_, options_);
    if (segment.text_rows.size() < segment.ids.size())
      hidden = hidden.index_select(1, row_of(segment.text_rows).to(hidden.device()));
    sink(hidden, first_text);
  }
}

void TextFeeder::read(std::span<const int32_t> text) {
  const at::NoGradGuard no_grad;
  ForwardOptions options = options_;
  options.memory_only = true;
  while (!text.empty()) {
    const auto piece = text.first(std::min(static_cast<size_t>(room()), text.size()));
    text = text.subspan(piece.size());
    model_.forward(row_of(segment_of(piece).ids).unsqueeze(0), *past_, options);
  }
}

int64_t TextFeeder::unneeded(int64_t tokens, int64_t wanted) const {
  const int64_t first_wanted = layout_.position_of(text_count() + tokens - wanted);
  const int64_t chunk = std::max<int64_t>(layout_.chunk_size, 1);
  const int64_t begin = (first_wanted - reach_of(model_.config()).upper) / chunk * chunk;
  return begin > past_->position() ? layout_.text_before(begin) - text_count() : 0;
}

int64_t TextFeeder::room() const {
  const int64_t border = (past_->position() / segment_positions_ + 1) * segment_positions_;
  return layout_.text_before(border) - text_count();
}

}  // namespace gca::model
