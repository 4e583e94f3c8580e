#include "lib/model/text_feeder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

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

TextFeeder::TextFeeder(const Drt& model, ForwardOptions options, int64_t segment_positions)
    : model_(model),
      options_(std::move(options)),
      layout_(chunk_layout_of(model.config())),
      segment_positions_(segment_positions > 0 ? segment_positions
                                               : default_segment_positions(model.config())) {
  const int64_t chunk = std::max<int64_t>(layout_.chunk_size, 1);
  segment_positions_ = (segment_positions_ + chunk - 1) / chunk * chunk;
}

void TextFeeder::feed(std::span<const int32_t> text, const Sink& sink) {
  const at::NoGradGuard no_grad;
  while (!text.empty()) {
    const int64_t first_text = text_count();
    const auto piece = text.first(std::min(static_cast<size_t>(room()), text.size()));
    text = text.subspan(piece.size());

    std::vector<int64_t> ids, text_rows;
    for (const int32_t token : piece) {
      text_rows.push_back(static_cast<int64_t>(ids.size()));
      ids.push_back(token);
      if (layout_.is_landmark(state_.position + static_cast<int64_t>(ids.size())))
        ids.push_back(layout_.landmark_id);
    }
    at::Tensor hidden = model_.forward(row_of(ids).unsqueeze(0), state_, options_);
    if (text_rows.size() < ids.size()) hidden = hidden.index_select(1, row_of(text_rows));
    sink(hidden, first_text);
  }
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
