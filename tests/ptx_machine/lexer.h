#pragma once
// PTX text as tokens. A name keeps its dots and double colons, so an opcode with all its modifiers
// (`cp.async.cg.shared::cta.global`) and a special register (`%tid.x`) are one token each.

#include <cstdint>
#include <string_view>
#include <vector>

namespace ptx {

enum class TokenKind {
  name,         // instruction, directive (starts with '.'), register ('%'), label, symbol
  integer,      // 12, 0x1F; a sign is a token of its own
  float32,      // 0f3F800000, the bits
  float64,      // 0d3FF0000000000000, the bits
  string,       // "path"
  punctuation,  // one character
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;  // into the source
  uint64_t value = 0;     // of numbers
  int line = 0;           // of the PTX text, from 1

  bool is(std::string_view wanted) const { return text == wanted && kind != TokenKind::string; }
};

/// All tokens and one `end` after them; they point into `source`, which must outlive them.
std::vector<Token> tokenize(std::string_view source);

}  // namespace ptx
