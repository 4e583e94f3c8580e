#include "lib/tasks/needles/needle_phrases.h"

#include "lib/core/error.h"

namespace gca::tasks {
namespace {

/// The ids of "0" to "9".
std::vector<int32_t> digits_of(const text::Tokenizer& tokenizer) {
  constexpr size_t count = 10;
  std::vector<int32_t> digits;
  const auto pieces = static_cast<int32_t>(tokenizer.piece_count());
  for (int32_t id = 0; id < pieces && digits.size() < count; ++id) {
    if (tokenizer.piece_bytes(id) != 1) continue;
    const std::string text = tokenizer.decode({&id, 1});
    if (text.size() == 1 && text.front() >= '0' && text.front() <= '9') digits.push_back(id);
  }
  if (digits.size() < count)
    fail_usage("number", "the tokenizer has no token for each digit", "measure passkey");
  return digits;
}

}  // namespace

const char* name_of(NeedleKind kind) {
  switch (kind) {
    case NeedleKind::passkey:
      return "passkey";
    case NeedleKind::multikey:
      return "multikey";
    case NeedleKind::multihop:
      return "multihop";
    case NeedleKind::number:
      return "number";
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
    case NeedleKind::number:
      phrases.open = tokenizer.encode("\nOne of the special magic numbers is: ");
      phrases.close = tokenizer.encode(".\n");
      phrases.ask = tokenizer.encode("\nWhat is the special magic number? The special magic number is: ");
      phrases.value_ids = digits_of(tokenizer);
      return phrases;
  }
  const auto pieces = static_cast<int32_t>(tokenizer.piece_count());
  for (int32_t id = 0; id < pieces; ++id)
    if (tokenizer.piece_bytes(id) > 0) phrases.value_ids.push_back(id);
  return phrases;
}

}  // namespace gca::tasks
