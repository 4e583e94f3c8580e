#pragma once
// Where text tokens stand once landmarks are put in: one LMK after every S-1 text tokens.
//   text index j  ->  position j / (S-1) * S + j % (S-1);  positions p with p % S == S-1 are landmarks.
// Without landmarks (chunk_size 0: the sliding-window baseline) the two are the same.

#include <cstdint>
#include <span>
#include <vector>

namespace gca::data {

struct ChunkLayout {
  int64_t chunk_size = 0;  ///< S, counting the landmark; 0: no landmarks
  int64_t landmark_id = 0;

  bool has_landmarks() const { return chunk_size > 0; }
  bool is_landmark(int64_t position) const {
    return has_landmarks() && position % chunk_size == chunk_size - 1;
  }
  /// Position of text token j.
  int64_t position_of(int64_t text_index) const {
    return has_landmarks() ? text_index / (chunk_size - 1) * chunk_size + text_index % (chunk_size - 1)
                           : text_index;
  }
  /// Text tokens among the first `position` positions.
  int64_t text_before(int64_t position) const {
    return has_landmarks() ? position - position / chunk_size : position;
  }
  /// Positions that T text tokens take, the landmark of a full last chunk included.
  int64_t length_of(int64_t text_count) const {
    return has_landmarks() ? text_count + text_count / (chunk_size - 1) : text_count;
  }
};

/// No target at this position: landmarks, padding, the end of a text.
inline constexpr int64_t kNoTarget = -1;

/// Ids and targets of text[0..T): `next` is the token after the last (kNoTarget when there is none). The last
/// text token of a chunk predicts the first of the next chunk; landmarks predict nothing.
struct LaidOutText {
  std::vector<int64_t> ids;      ///< (L)
  std::vector<int64_t> targets;  ///< (L)
};
LaidOutText lay_out(std::span<const int32_t> text, int64_t next, const ChunkLayout& layout);

}  // namespace gca::data
