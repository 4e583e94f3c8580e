#pragma once
// A passage of real text planted far back and repeated at the end: does retrieval find its first occurrence?
// The last whole chunk lies within the repeat, at a random place of it, so that the first occurrence is cut
// into chunks otherwise than the repeat. The longer the passage, the more landmarks of the repeat have a
// choice to make: long passages train more for each token.

#include <cstdint>
#include <optional>
#include <string>

#include "lib/data/haystack.h"
#include "lib/data/sequence_loader.h"
#include "lib/data/text_edit.h"
#include "lib/tasks/task_settings.h"

namespace gca::tasks {

inline constexpr TaskSetting kRecallChunks{.key = "recall_chunks",
                                           .flag = "--passage-chunks",
                                           .default_value = 3,
                                           .least = 3,
                                           .help = "recall: chunks that the repeated passage is long"};

struct RecallSettings {
  int64_t chunk_text = 63;                                    ///< S-1
  int64_t passage_tokens = 63 * kRecallChunks.default_value;  ///< of the passage, more than twice chunk_text
  uint64_t seed = 0;
  SettingNames names = SettingNames::keys;  ///< how errors name settings
};

struct RecallText {
  int64_t haystack_first = 0;
  int64_t text_tokens = 0;
  int64_t first_occurrence = 0;       ///< text index
  int64_t repeat = 0;                 ///< text index of the repeat; it goes on to the end of the text
  int64_t passage_room = 0;           ///< the first occurrence lies in text[0, passage_room)
  std::vector<data::TextEdit> edits;  ///< the passage, and its repeat
};

class RecallTask {
 public:
  /// Tokens of the repeat that are not targets: too few to tell what is repeated.
  static constexpr int64_t kUncertain = 8;

  /// Throws Error(usage) when a setting is out of range.
  explicit RecallTask(RecallSettings settings);

  /// Text number `number` whose chunk `chunks` - 1 is the last whole one before the repeat's last part; the
  /// passage is another stretch of the haystack. Throws Error(usage) when it has no room.
  RecallText text(int64_t number, int64_t chunks, const data::Haystack& haystack,
                  std::optional<int64_t> haystack_first = {}) const;

  /// `chunks` so that the whole text has at most `context` tokens.
  int64_t chunks_within(int64_t context) const { return context / settings_.chunk_text - 1; }

  /// Texts [first, first + rows) as training sequences of (chunks + 1) (S-1) tokens, short ones padded; the
  /// repeat has targets, but for its first tokens.
  data::Batch batch(int64_t first, int64_t rows, int64_t chunks, const data::Haystack& haystack,
                    const data::ChunkLayout& layout) const;

  std::string fingerprint() const;
  const RecallSettings& settings() const { return settings_; }

 private:
  RecallSettings settings_;
};

}  // namespace gca::tasks
