#pragma once
// Feeds text tokens to a model: puts the landmarks in, cuts long texts into segments, keeps the state. What
// scoring, generation and inspection share.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "lib/data/chunk_layout.h"
#include "lib/model/drt_state.h"
#include "lib/model/language_model.h"
#include "lib/model/memory/chunk_store.h"

namespace gca {

/// Where the landmarks of this model stand; none for the sliding-window baseline.
ChunkLayout chunk_layout_of(const ModelConfig& config);

/// Positions by which the upper layers must begin before the first whose result is wanted, for it to be the
/// whole text's: N_up W that the windows reach back through them, and a chunk a group, whose retrieval was
/// made before.
int64_t upper_reach(const ModelConfig& config);
/// Positions before a chunk that its entry of chunk memory depends on: N_low W.
int64_t lower_reach(const ModelConfig& config);

/// Positions of a prefill segment: a multiple of S longer than W whose activations take some 256 MiB.
int64_t default_segment_positions(const ModelConfig& config);

/// One text, one row. The state always ends on a text token or on the landmark that closes its chunk: a
/// landmark is run with the text token before it.
class TextFeeder {
 public:
  /// Hidden states (1, m, d) of the m text positions of a segment; `first_text` is the number of the first in
  /// the text.
  using Sink = std::function<void(const at::Tensor& hidden, int64_t first_text)>;

  /// `model` must outlive the feeder. segment_positions is rounded up to whole chunks; 0
  /// chooses default_segment_positions().
  TextFeeder(const LanguageModel& model, ForwardOptions options, int64_t segment_positions = 0);

  /// Goes on after the text that `state` has seen.
  void start_from(DrtState state) { state_ = std::move(state); }
  /// Keeps chunk memory here; before the first token.
  void keep_memory_in(std::unique_ptr<ChunkMemory> memory) { state_.memory = std::move(memory); }
  /// The same in stores at `place`; a model without retrieval keeps none.
  void keep_memory_at(const MemoryPlace& place);
  /// Gives the state away; the feeder is as new.
  DrtState take_state() { return std::exchange(state_, DrtState()); }

  /// Runs `text` after all that was fed before, without gradients; `sink` is called once a segment, in order.
  void feed(std::span<const int32_t> text, const Sink& sink);

  /// Runs `text` as feed() does, but for the upper layers: chunk memory is all that is made. See unneeded().
  void read(std::span<const int32_t> text);

  /// How many of the next `tokens` text tokens may be read instead of fed, when results are wanted from
  /// number tokens - `wanted` of them on and later: those are then the same as if all had been fed.
  int64_t unneeded(int64_t tokens, int64_t wanted) const;

  /// Text tokens that the segment now begun still takes: feeding or reading at most so many runs one segment.
  int64_t room() const;

  const ChunkLayout& layout() const { return layout_; }
  const DrtState& state() const { return state_; }
  /// Text tokens fed so far.
  int64_t text_count() const { return layout_.text_before(state_.position); }
  /// Bytes kept of the text so far: windows, open chunk and chunk memory.
  int64_t memory_bytes() const;

 private:
  /// Ids of `text` with the landmarks in it, and which of them are text.
  struct Segment {
    std::vector<int64_t> ids;
    std::vector<int64_t> text_rows;
  };
  Segment segment_of(std::span<const int32_t> text) const;

  const LanguageModel& model_;
  ForwardOptions options_;
  ChunkLayout layout_;
  int64_t segment_positions_;
  DrtState state_;
};

}  // namespace gca
