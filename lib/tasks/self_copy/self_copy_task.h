#pragma once
// The self-copy task: a passage of random tokens, then the same passage again. Only the repeat has targets,
// and with a window shorter than the passage only retrieval can supply them; the best guess without it is one in `ids`.
//
// The first token of the repeat cannot be known and has no target. Where a chunk of the repeat ends, the next
// token lies in a chunk that the retrieval of the last landmark could not ask for with certainty: a perfect
// model stays a little below 1.
//
// With shift_tokens = S-1, up to S-2 further random tokens stand between the passage and its repeat: chunks
// of the repeat then begin elsewhere in the passage than its own chunks do, and what they repeat lies in two of them.

#include <cstdint>
#include <string>

#include "lib/data/chunk_layout.h"
#include "lib/data/sequence_loader.h"
#include "lib/tasks/task_settings.h"

namespace gca::tasks {

inline constexpr TaskSetting kCopyChunks{.key = "copy_chunks",
                                         .default_value = 2,
                                         .least = 1,
                                         .help = "self-copy: chunks of the repeated passage"};
inline constexpr TaskSetting kCopyShifted{.key = "copy_shifted",
                                          .most = 1,
                                          .is_switch = true,
                                          .help = "self-copy: the repeat begins anywhere in a chunk"};

struct SelfCopySettings {
  int64_t passage_tokens = 0;  ///< text tokens of the passage; a sequence has twice as many, and shift_tokens
  int64_t ids = 0;             ///< tokens are uniform in [0, ids) without the landmark
  uint64_t seed = 0;
  int64_t shift_tokens = 0;  ///< fewer than so many stand between passage and repeat, drawn for each sequence
};

class SelfCopyTask {
 public:
  /// Throws Error(usage) when the settings leave nothing to copy.
  SelfCopyTask(SelfCopySettings settings, data::ChunkLayout layout);

  /// Sequences [first, first + rows); each is a pure function of (seed, its number). Numbers below 2^32.
  data::Batch batch(int64_t first, int64_t rows) const;
  /// Text tokens of a sequence.
  int64_t text_tokens() const { return 2 * settings_.passage_tokens + settings_.shift_tokens; }
  /// Accuracy of guessing.
  double chance() const;
  /// Names the task and its settings: resuming with others is refused.
  std::string fingerprint() const;

 private:
  SelfCopySettings settings_;
  data::ChunkLayout layout_;
};

}  // namespace gca::tasks
