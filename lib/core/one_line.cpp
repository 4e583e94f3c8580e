#include "lib/core/one_line.h"

#include <fmt/format.h>

#include "lib/core/utf8.h"

namespace gca {
namespace {

/// One character of `text` as shown, removed from its front.
std::string take_escaped(std::string_view& text) {
  const size_t length = first_utf8_sequence(text).length;
  const auto byte = static_cast<unsigned char>(text[0]);
  // U+0080 to U+009F, the second set of control characters, is C2 80 to C2 9F in UTF-8.
  const bool is_c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
  const size_t taken = std::max<size_t>(length, 1);
  const std::string_view character = text.substr(0, taken);
  text.remove_prefix(taken);
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  if (byte == '\r') return "\\r";
  if (is_c1) return fmt::format("\\x{:02x}\\x{:02x}", byte, static_cast<unsigned char>(character[1]));
  if (length == 0 || byte < 0x20 || byte == 0x7F) return fmt::format("\\x{:02x}", byte);
  return std::string(character);
}

}  // namespace

std::string one_line(std::string_view text, int64_t width) {
  constexpr const char* kMore = "...";
  std::string shown;
  size_t end_with_more = 0;  // bytes of `shown` that leave room for kMore
  int64_t columns = 0;
  while (!text.empty()) {
    const std::string character = take_escaped(text);
    columns += static_cast<int64_t>(count_utf8(character));
    if (columns > width) return shown.substr(0, end_with_more) + kMore;
    shown += character;
    if (columns <= width - 3) end_with_more = shown.size();
  }
  return shown;
}

}  // namespace gca
