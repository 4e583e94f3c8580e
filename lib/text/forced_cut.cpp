#include "lib/text/forced_cut.h"

#include "lib/core/utf8.h"

namespace gca::text {

size_t forced_cut(std::string_view text) {
  const size_t earliest = text.size() / 2;
  for (size_t cut = text.size() - 1; cut > earliest; --cut)
    if (text[cut] == ' ' && text[cut - 1] > ' ') return cut;  // char is signed: ASCII
  if (const size_t newline = text.rfind('\n'); newline != std::string_view::npos && newline >= earliest)
    return newline + 1;
  size_t cut = text.size() - 1;
  while (cut > earliest && continues_utf8(text[cut])) --cut;
  return cut;
}

}  // namespace gca::text
