#pragma once
// The self-copy task: a passage of random tokens, then the same passage again. Only the repeat has targets,
// and with a window shorter than the passage only retrieval can supply them; the best guess without it is one
// in `ids`.
//
// The first token of the repeat cannot be known and has no target. Where a chunk of the repeat ends, the next
// token stands in a chunk that the retrieval of the last landmark could not ask for with certainty: a perfect
// model stays a little below 1.

#include <cstdint>
#include <string>

#include "lib/data/chunk_layout.h"
#include "lib/data/sequence_loader.h"

namespace gca {

struct SelfCopySettings {
  int64_t passage_tokens = 0;  ///< text tokens of the passage; a sequence has twice as many
  int64_t ids = 0;             ///< tokens are uniform in [0, ids) without the landmark
  uint64_t seed = 0;
};

class SelfCopyTask {
 public:
  /// Sequences from this number on are never trained on.
  static constexpr int64_t kFirstHeldOut = int64_t{1} << 31;

  /// Throws Error(usage) when the settings leave nothing to copy.
  SelfCopyTask(SelfCopySettings settings, ChunkLayout layout);

  /// Sequences [first, first + rows); each is a pure function of (seed, its number). Numbers below 2^32.
  Batch batch(int64_t first, int64_t rows) const;
  /// Accuracy of guessing.
  double chance() const;
  /// Names the task and its settings: resuming with others is refused.
  std::string fingerprint() const;

 private:
  SelfCopySettings settings_;
  ChunkLayout layout_;
};

}  // namespace gca
