#include "lib/model/text_feeder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/model/memory/stored_chunk_memory.h"

namespace gca {
namespace {

int64_t tensor_bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

at::Tensor row_of(const std::vector<int64_t>& values) {
  at::Tensor row = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), row.mutable_data_ptr<int64_t>());
  return row;
}

}  // namespace

ChunkLayout chunk_layout_of(const ModelConfig& config) {
  if (!config.uses_retrieval()) return {};
  const int64_t landmark = config.landmark_id >= 0 ? config.landmark_id : config.vocab_size - 1;
  return {.chunk_size = config.chunk_size, .landmark_id = landmark};
}

int64_t default_segment_positions(const ModelConfig& config) {
  constexpr int64_t kActivationBytes = int64_t{256} << 20;
  constexpr int64_t kMost = 8192;
  // Alive at once: the inner layer of the MLP three times, and some eight tensors of the width of the model,
  // in fp32.
  const int64_t bytes_per_position = 4 * (3 * config.ff_size() + 8 * config.d_model);
  const int64_t chunk = config.chunk_size;
  const int64_t fitting = std::min(kActivationBytes / bytes_per_position, kMost) / chunk * chunk;
  const int64_t longer_than_window = (config.window_size / chunk + 1) * chunk;
  return std::max(fitting, longer_than_window);
}

int64_t upper_reach(const ModelConfig& config) {
  const int64_t windows = config.n_upper_layers * config.window_size;
  return config.uses_retrieval() ? windows + config.retrieval_groups * config.chunk_size : windows;
}

int64_t lower_reach(const ModelConfig& config) {
  return config.n_lower_layers * config.window_size;
}

TextFeeder::TextFeeder(const LanguageModel& model, ForwardOptions options, int64_t segment_positions)
    : model_(model),
      options_(std::move(options)),
      layout_(chunk_layout_of(model.config())),
      segment_positions_(segment_positions > 0 ? segment_positions
                                               : default_segment_positions(model.config())) {
  const int64_t chunk = std::max<int64_t>(layout_.chunk_size, 1);
  segment_positions_ = (segment_positions_ + chunk - 1) / chunk * chunk;
  // On a device its memory is the state's own: it lies where it is read.
  if (model.compute_dtype() != at::kDouble && model.device().is_cpu()) keep_memory_at(MemoryPlace{});
}

void TextFeeder::keep_memory_at(const MemoryPlace& place) {
  if (model_.config().uses_retrieval())
    keep_memory_in(std::make_unique<StoredChunkMemory>(model_.config(), model_.compute_dtype(), place));
}

TextFeeder::Segment TextFeeder::segment_of(std::span<const int32_t> text) const {
  Segment segment;
  for (const int32_t token : text) {
    segment.text_rows.push_back(static_cast<int64_t>(segment.ids.size()));
    segment.ids.push_back(token);
    if (layout_.is_landmark(state_.position + static_cast<int64_t>(segment.ids.size())))
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
    at::Tensor hidden = model_.forward(row_of(segment.ids).unsqueeze(0), state_, options_);
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
    model_.forward(row_of(segment_of(piece).ids).unsqueeze(0), state_, options);
  }
}

int64_t TextFeeder::unneeded(int64_t tokens, int64_t wanted) const {
  const int64_t first_wanted = layout_.position_of(text_count() + tokens - wanted);
  const int64_t chunk = std::max<int64_t>(layout_.chunk_size, 1);
  const int64_t begin = (first_wanted - upper_reach(model_.config())) / chunk * chunk;
  return begin > state_.position ? layout_.text_before(begin) - text_count() : 0;
}

int64_t TextFeeder::room() const {
  const int64_t border = (state_.position / segment_positions_ + 1) * segment_positions_;
  return layout_.text_before(border) - text_count();
}

int64_t TextFeeder::memory_bytes() const {
  int64_t bytes = tensor_bytes(state_.open_chunk);
  for (const auto& window : state_.windows) bytes += window.size_bytes();
  for (const auto& retrieval : state_.open_retrieval)
    bytes += tensor_bytes(retrieval.idx) + tensor_bytes(retrieval.weights);
  if (state_.memory) bytes += state_.memory->size_bytes();
  return bytes;
}

}  // namespace gca
