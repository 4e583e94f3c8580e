#pragma once
// Which bytes of a text may be handed to SentencePiece: valid UTF-8 without '\0' (it ends strings) and
// without U+2581 (it stands for a space inside SentencePiece, so the two could not be told apart).

#include <cstddef>
#include <string_view>

namespace gca::text {

/// U+2581 LOWER ONE EIGHTH BLOCK, which stands for a space in pieces.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

/// Bytes of the longest prefix of `text` that is plain in this sense.
size_t plain_prefix(std::string_view text);

/// What stands at the front of `text`, which is not empty, where its plain prefix is empty: "\0", one invalid
/// byte, or U+2581.
std::string_view special_prefix(std::string_view text);

}  // namespace gca::text
