#pragma once

#include <cstddef>
#include <string_view>

namespace gca::text {

/// A longer text in which a tokenizer allows no safe cut is cut nevertheless: SentencePiece takes about 80 times
/// the size of what it encodes at once.
inline constexpr size_t kMostBytesAtOnce = size_t{2} << 20;

/// The least harmful place in the second half of such a text: before a space that follows a character of ASCII
/// (most models have no piece across one), else after a newline, else between two characters. The tokens at
/// the cut may be others than those of the whole text; they stand for the same.
size_t forced_cut(std::string_view text);

}  // namespace gca::text
