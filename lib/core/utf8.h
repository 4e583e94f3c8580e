#pragma once
// UTF-8 as it arrives in pieces or damaged (Unicode 15, table 3-7).

#include <cstddef>
#include <string_view>

namespace gca {

struct Utf8Sequence {
  size_t length = 0;    ///< bytes of the valid sequence at the front; 0 when there is none
  bool is_cut = false;  ///< no valid sequence yet, but more bytes may make one
  size_t damaged = 0;   ///< where `length` is 0: bytes of the maximal subpart, for which one U+FFFD stands
};

/// The sequence that begins `text`, which is not empty.
Utf8Sequence first_utf8_sequence(std::string_view text);

/// Is it inside a sequence, behind its first byte?
constexpr bool continues_utf8(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// Characters of a valid `text`.
size_t count_utf8(std::string_view text);

/// Bytes of the longest prefix of `text` that is whole valid sequences.
size_t valid_utf8_prefix(std::string_view text);

/// Bytes of `text` up to a sequence at its end that is not complete yet; damaged bytes count as complete.
size_t complete_utf8_prefix(std::string_view text);

}  // namespace gca
