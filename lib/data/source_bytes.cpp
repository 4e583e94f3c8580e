#include "lib/data/source_bytes.h"

#include <algorithm>

namespace gca::data {

PieceBytes PieceBytes::of(const text::Tokenizer& tokenizer) {
  return {tokenizer.piece_bytes_table(), tokenizer.is_lossless(), tokenizer.unknown_id()};
}

DocumentBytes& DocumentBytes::operator+=(const DocumentBytes& other) {
  source += other.source;
  pieces += other.pieces;
  unknown_tokens += other.unknown_tokens;
  return *this;
}

DocumentBytes count_piece_bytes(const PieceBytes& pieces, int64_t tokens, int64_t source_bytes,
                                const std::function<void(int64_t first, std::span<int32_t> out)>& read) {
  constexpr int64_t kTokensAtOnce = int64_t{1} << 16;
  DocumentBytes bytes;
  bytes.source = source_bytes;
  std::vector<int32_t> ids;
  for (int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    ids.resize(static_cast<size_t>(std::min(kTokensAtOnce, tokens - first)));
    read(first, ids);
    for (const int32_t id : ids) {
      bytes.pieces += pieces.of_id.at(static_cast<size_t>(id));
      bytes.unknown_tokens += id == pieces.unknown_id ? 1 : 0;
    }
  }
  return bytes;
}

}  // namespace gca::data
