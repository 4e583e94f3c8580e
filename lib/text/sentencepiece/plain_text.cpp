#include "lib/text/sentencepiece/plain_text.h"

#include "lib/core/utf8.h"

namespace gca::text {

size_t plain_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte == 0) break;
    if (byte < 0x80) {
      ++at;
      continue;
    }
    const std::string_view rest = text.substr(at);
    const size_t length = first_utf8_sequence(rest).length;
    if (length == 0 || rest.starts_with(kSpaceSymbol)) break;
    at += length;
  }
  return at;
}

std::string_view special_prefix(std::string_view text) {
  return text.starts_with(kSpaceSymbol) ? text.substr(0, kSpaceSymbol.size()) : text.substr(0, 1);
}

}  // namespace gca::text
