#include "lib/core/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace gca {
namespace {

/// Length that a first byte announces; 0 for a byte that begins no sequence.
size_t announced_length(uint8_t byte) {
  if (byte < 0x80) return 1;
  if (byte >= 0xC2 && byte < 0xE0) return 2;
  if (byte >= 0xE0 && byte < 0xF0) return 3;
  if (byte >= 0xF0 && byte < 0xF5) return 4;
  return 0;
}

/// The second byte also excludes overlong forms, surrogates and code points past U+10FFFF.
bool may_follow(uint8_t first, uint8_t byte, bool is_second) {
  uint8_t lowest = 0x80;
  uint8_t highest = 0xBF;
  if (is_second && first == 0xE0) lowest = 0xA0;
  if (is_second && first == 0xED) highest = 0x9F;
  if (is_second && first == 0xF0) lowest = 0x90;
  if (is_second && first == 0xF4) highest = 0x8F;
  return byte >= lowest && byte <= highest;
}

}  // namespace

Utf8Sequence first_utf8_sequence(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t length = announced_length(first);
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {.length = 0, .is_cut = true, .damaged = i};
    if (!may_follow(first, static_cast<uint8_t>(text[i]), i == 1))
      return {.length = 0, .is_cut = false, .damaged = i};
  }
  return {.length = length, .is_cut = false, .damaged = length == 0 ? size_t{1} : 0};
}

size_t count_utf8(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !continues_utf8(byte); }));
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    // Most text is ASCII: eight bytes at a time.
    uint64_t word = 0;
    while (at + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080) != 0) break;
      at += sizeof(word);
    }
    if (at == text.size()) break;
    const size_t length = first_utf8_sequence(text.substr(at)).length;
    if (length == 0) break;
    at += length;
  }
  return at;
}

size_t complete_utf8_prefix(std::string_view text) {
  // Only the last three bytes can belong to a sequence that is not finished.
  for (size_t start = text.size() - std::min<size_t>(text.size(), 3); start < text.size(); ++start)
    if (first_utf8_sequence(text.substr(start)).is_cut) return start;
  return text.size();
}

}  // namespace gca
