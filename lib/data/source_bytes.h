#pragma once
// How many bytes of source text tokens stand for: what bits per byte divide by.

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "lib/text/tokenizer.h"

namespace gca::data {

/// What the pieces of a tokenizer say of the bytes of a text.
struct PieceBytes {
  std::vector<int32_t> of_id;  ///< (V) bytes of each id's piece; empty: bytes are not counted
  bool is_exact = true;        ///< they are the bytes of the text, one for one
  int32_t unknown_id = -1;     ///< stands for text that is lost; -1: none does

  static PieceBytes of(const text::Tokenizer& tokenizer);
};

/// Bytes of a document, or of several as one. Where the tokenizer rewrites text (NFKC, a space put before it,
/// spaces removed) a piece is not as long as what it stands for: the document as a whole tells by how much.
struct DocumentBytes {
  int64_t source = 0;  ///< of the text
  int64_t pieces = 0;  ///< of the pieces of all tokens
  int64_t unknown_tokens = 0;

  /// Bytes of source text for each byte of a piece; NaN where text is lost to unknown tokens.
  double source_scale() const {
    if (unknown_tokens > 0) return std::numeric_limits<double>::quiet_NaN();
    return pieces > 0 ? static_cast<double>(source) / static_cast<double>(pieces) : 1.0;
  }
  DocumentBytes& operator+=(const DocumentBytes& other);
};

/// Counts the pieces of a document of `tokens` tokens and `source_bytes` bytes of text. `read(first, out)`
/// copies ids. Not needed where the pieces are exact.
DocumentBytes count_piece_bytes(const PieceBytes& pieces, int64_t tokens, int64_t source_bytes,
                                const std::function<void(int64_t first, std::span<int32_t> out)>& read);

}  // namespace gca::data
