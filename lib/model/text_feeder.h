#pragma once
// Feeds text tokens to a model: puts the landmarks in, cuts long texts into segments, keeps the past. What
// scoring, generation and inspection share.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/model/backbone_kinds.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/chunk_store.h"

namespace gca::model {

/// Positions of a prefill segment: a multiple of S longer than W whose activations take some 256 MiB.
int64_t default_segment_positions(const ModelConfig& config);

/// Backbone::begin() with chunk memory, where this kind keeps one, at `place`.
std::unique_ptr<Past> begin_with_memory_at(const LanguageModel& model, const MemoryPlace& place,
                                           int64_t position = 0);

/// One text, one row. The past always ends on a text token or on the landmark that closes its chunk: a
/// landmark is run with the text token before it.
class TextFeeder {
 public:
  /// Hidden states (1, m, d) of the m text positions of a segment; `first_text` is the number of the first in
  /// the text.
  using Sink = std::function<void(const at::Tensor& hidden, int64_t first_text)>;

  /// `model` must outlive the feeder. segment_positions is rounded up to whole chunks; 0
  /// chooses default_segment_positions().
  TextFeeder(const LanguageModel& model, ForwardOptions options, int64_t segment_positions = 0);

  /// Goes on after the text that `past` has seen.
  void start_from(std::unique_ptr<Past> past) { past_ = std::move(past); }
  /// Keeps chunk memory at `place`, where the model keeps one; before the first token.
  void keep_memory_at(const MemoryPlace& place);
  /// Gives the past away; the feeder is as new.
  std::unique_ptr<Past> take_past() { return std::exchange(past_, model_.begin()); }

  /// Runs `text` after all that was fed before, without gradients; `sink` is called once a segment, in order.
  void feed(std::span<const int32_t> text, const Sink& sink);

  /// Runs `text` as feed() does, but for the upper layers: chunk memory is all that is made. See unneeded().
  void read(std::span<const int32_t> text);

  /// How many of the next `tokens` text tokens may be read instead of fed, when results are wanted from
  /// number tokens - `wanted` of them on and later: those are then the same as if all had been fed.
  int64_t unneeded(int64_t tokens, int64_t wanted) const;

  /// Text tokens that the segment now begun still takes: feeding or reading at most so many runs one segment.
  int64_t room() const;

  const data::ChunkLayout& layout() const { return layout_; }
  const Past& past() const { return *past_; }
  /// Text tokens fed so far.
  int64_t text_count() const { return layout_.text_before(past_->position()); }
  /// Bytes kept of the text so far.
  int64_t memory_bytes() const { return past_->size_bytes(); }

 private:
  /// Ids of `text` with the landmarks in it, and which of them are text.
  struct Segment {
    std::vector<int64_t> ids;
    std::vector<int64_t> text_rows;
  };
  Segment segment_of(std::span<const int32_t> text) const;

  const LanguageModel& model_;
  ForwardOptions options_;
  data::ChunkLayout layout_;
  int64_t segment_positions_;
  std::unique_ptr<Past> past_;
};

}  // namespace gca::model
