#include "lib/tasks/needles/needle_phrases.h"

namespace gca::tasks {

const char* name_of(NeedleKind kind) {
  switch (kind) {
    case NeedleKind::passkey:
      return "passkey";
    case NeedleKind::multikey:
      return "multikey";
    case NeedleKind::multihop:
      return "multihop";
  }
  return "";
}

NeedlePhrases NeedlePhrases::of(NeedleKind kind, const text::Tokenizer& tokenizer) {
  NeedlePhrases phrases;
  phrases.close = tokenizer.encode("|");
  switch (kind) {
    case NeedleKind::passkey:
      phrases.open = tokenizer.encode("|The passkey is:");
      phrases.ask = tokenizer.encode("|What is the passkey? The passkey is");
      break;
    case NeedleKind::multikey:
      phrases.open = tokenizer.encode("|The passkey for");
      phrases.link = tokenizer.encode(" is:");
      phrases.ask = phrases.open;
      phrases.answer = tokenizer.encode(" is");
      break;
    case NeedleKind::multihop:
      phrases.open = tokenizer.encode("|DEF");
      phrases.link = tokenizer.encode("->");
      phrases.ask = tokenizer.encode("|The path from");
      phrases.answer = phrases.link;
      break;
  }
  const auto pieces = static_cast<int32_t>(tokenizer.piece_count());
  for (int32_t id = 0; id < pieces; ++id)
    if (tokenizer.piece_bytes(id) > 0) phrases.value_ids.push_back(id);
  return phrases;
}

}  // namespace gca::tasks
