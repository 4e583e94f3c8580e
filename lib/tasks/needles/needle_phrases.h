#pragma once
// The fixed words of the needle tasks, as tokens.

#include <cstdint>
#include <string>
#include <vector>

#include "lib/text/tokenizer.h"

namespace gca::tasks {

enum class NeedleKind { passkey, multikey, multihop, number };

/// "passkey", "multikey", "multihop", "number".
const char* name_of(NeedleKind kind);

///   passkey    needle: open VALUE close                 question: ask VALUE
///   multikey   needle: open KEY link VALUE close        question: ask KEY answer VALUE
///   multihop   needle: open a link b close              question: ask a link b link c
///   number     needle: open VALUE close                 question: ask VALUE
struct NeedlePhrases {
  std::vector<int32_t> open;
  std::vector<int32_t> link;
  std::vector<int32_t> close;
  std::vector<int32_t> ask;
  std::vector<int32_t> answer;     ///< what stands between the question's key and the answer
  std::vector<int32_t> value_ids;  ///< what random tokens are drawn from

  /// Throws Error(usage) where a number is to be drawn from digits that are no tokens.
  static NeedlePhrases of(NeedleKind kind, const text::Tokenizer& tokenizer);
};

}  // namespace gca::tasks
