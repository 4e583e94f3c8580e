#pragma once
// Needles in a haystack, as arXiv 2410.01651 builds them: something random is planted in a text and asked for
// at its end. `|` below is a token; the phrases are those of needle_phrases.h, a, b, c, KEY and VALUE random tokens.
//
//   passkey    |The passkey is: VALUE|             |What is the passkey? The passkey is VALUE
//   multikey   |The passkey for KEY is: VALUE|     |The passkey for KEY is VALUE          one of several
//   multihop   |DEF a -> b|  |DEF b -> c|          |The path from a -> b -> c             among other chains
//   number     passkey in words and digits that a model of plain text has met (RULER, arXiv 2404.06654, writes so)
//
// The last token before the answer is the first text token of the last chunk, all before it ends the chunk
// before: the retrieval that serves the answer is made at a landmark that has seen the question. A multihop
// question stands a second time, one chunk earlier: with two groups the second can then look for what the
// first has read. Needles stand at uniform places, the last of their chunks being a candidate of every
// retrieval that needs them. What is planted replaces as many tokens of the haystack.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/data/haystack.h"
#include "lib/data/sequence_loader.h"
#include "lib/data/text_edit.h"
#include "lib/tasks/needles/needle_phrases.h"
#include "lib/tasks/task_settings.h"

namespace gca::tasks {

inline constexpr TaskSetting kNeedleValueTokens{
    .key = "needle_value_tokens",
    .flag = "--value-tokens",
    .default_value = 5,
    .least = 1,
    .help = "passkey, multikey, number: random tokens of a value, digits of a number"};
inline constexpr TaskSetting kNeedleKeyTokens{.key = "needle_key_tokens",
                                              .flag = "--key-tokens",
                                              .default_value = 1,
                                              .least = 1,
                                              .help = "multikey, multihop: random tokens of a key"};
inline constexpr TaskSetting kNeedleDistractors{
    .key = "needle_distractors",
    .flag = "--distractors",
    .default_value = 3,
    .help = "multikey, multihop: needles or chains that nobody asks for"};
inline constexpr TaskSetting kNeedleHops{.key = "needle_hops",
                                         .flag = "--hops",
                                         .default_value = 2,
                                         .least = 1,
                                         .help = "multihop: needles of a chain"};
inline constexpr TaskSetting kNeedleQuestions{.key = "needle_questions",
                                              .default_value = 1,
                                              .least = 1,
                                              .help = "needle tasks: questions in a sequence"};
inline constexpr TaskSetting kNeedleTextTargets{
    .key = "needle_text_targets",
    .most = 1,
    .is_switch = true,
    .help = "needle tasks: every token is a target, not the answers alone"};

struct NeedleSettings {
  NeedleKind kind = NeedleKind::passkey;
  int64_t chunk_text = 63;                                  ///< S-1: text tokens of a chunk
  int64_t value_tokens = kNeedleValueTokens.default_value;  ///< of a passkey
  int64_t key_tokens = kNeedleKeyTokens.default_value;      ///< of a key (multikey) or a variable (multihop)
  /// Needles (multikey) or chains (multihop) that nobody asks for.
  int64_t distractors = kNeedleDistractors.default_value;
  int64_t hops = kNeedleHops.default_value;  ///< multihop: needles of a chain
  int64_t questions =
      kNeedleQuestions.default_value;  ///< one after the other at the end; passkey: the same again
  bool text_targets = kNeedleTextTargets.default_value != 0;  ///< training: every token is a target
  uint64_t seed = 0;
  SettingNames names = SettingNames::keys;  ///< how errors name settings
};

struct TokenSpan {
  int64_t first = 0;
  int64_t tokens = 0;
};

struct NeedleQuestion {
  int64_t prompt_tokens = 0;  ///< before the answer: they ask for it
  int64_t first_answer = 0;   ///< text index of the first token of the answer
  std::vector<int32_t> answer;
  std::vector<TokenSpan> values;  ///< where what it needs stands, in the order of the hops
};

/// A text with its needles: the haystack with these edits.
struct NeedleText {
  int64_t haystack_first = 0;             ///< number of the haystack's token that is text token 0
  int64_t text_tokens = 0;                ///< up to the end of the last answer
  int64_t needle_room = 0;                ///< needles stand in text[0, needle_room)
  std::vector<data::TextEdit> edits;      ///< needles, questions and answers; they do not overlap
  std::vector<NeedleQuestion> questions;  ///< in the order of the text
};

class NeedleTask {
 public:
  /// Throws Error(usage) when a setting is out of range.
  NeedleTask(NeedleSettings settings, NeedlePhrases phrases);

  /// Text number `number` (below 2^32) in which `chunks` whole chunks stand before that of the last answer: a
  /// pure function of the settings and these. It begins at `haystack_first`, or at a random token of the
  /// haystack. Throws Error(usage) when the needles have no room.
  NeedleText text(int64_t number, int64_t chunks, int64_t haystack_tokens,
                  std::optional<int64_t> haystack_first = {}) const;

  /// Chunks before that of the last answer when the whole text is to have at most `context` tokens.
  int64_t chunks_within(int64_t context) const;
  int64_t answer_tokens() const;

  /// Texts [first, first + rows) as training sequences; only the answers have targets, unless text_targets is set.
  data::Batch batch(int64_t first, int64_t rows, int64_t chunks, const data::Haystack& haystack,
                    const data::ChunkLayout& layout) const;

  /// Names the task and its settings.
  std::string fingerprint() const;

  const NeedleSettings& settings() const { return settings_; }

 private:
  NeedleSettings settings_;
  NeedlePhrases phrases_;
};

/// The tokens of `text`, edits made.
std::vector<int32_t> tokens_of(const NeedleText& text, const data::Haystack& haystack);

}  // namespace gca::tasks
