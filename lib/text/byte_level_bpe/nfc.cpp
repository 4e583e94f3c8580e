#include "lib/text/byte_level_bpe/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "lib/core/error.h"
#include "lib/core/utf8.h"

namespace gca::text {
namespace {

bool is_ascii(char byte) {
  return static_cast<unsigned char>(byte) < 0x80;
}

/// `text` is valid UTF-8.
std::string normalize(std::string_view text) {
  utf8proc_uint8_t* normalized = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &normalized,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) fail_run("tokenizer", std::string("cannot normalise a text: ") + utf8proc_errmsg(size));
  std::string result(reinterpret_cast<const char*>(normalized), static_cast<size_t>(size));
  std::free(normalized);
  return result;
}

}  // namespace

// An ASCII character combines with what follows it, never with what is before it. So a text falls into
// stretches that begin with one, and those without another character need no work.
NfcText::NfcText(std::string_view text) {
  text_.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && is_ascii(text[end])) ++end;
    const size_t begin = end > at && end < text.size() ? end - 1 : end;
    text_ += text.substr(at, begin - at);
    while (end < text.size() && !is_ascii(text[end])) ++end;
    for (at = begin; at < end;) {
      const size_t valid = valid_utf8_prefix(text.substr(at, end - at));
      const std::string_view stretch = text.substr(at, std::max<size_t>(valid, 1));
      at += stretch.size();
      if (valid == 0) {
        text_ += stretch;
        continue;
      }
      const std::string normalized = normalize(stretch);
      if (normalized != stretch) changes_.push_back({text_.size(), text_.size() + normalized.size(), at});
      text_ += normalized;
    }
  }
}

std::optional<size_t> NfcText::place_in_original(size_t place) const {
  const auto after = std::partition_point(changes_.begin(), changes_.end(),
                                          [&](const Change& change) { return change.begin < place; });
  if (after == changes_.begin()) return place;
  const Change& change = *std::prev(after);
  if (place < change.end) return std::nullopt;
  return change.original_end + (place - change.end);
}

size_t nfc_stable_prefix(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && !is_ascii(text[end - 1])) --end;
  return end == 0 ? 0 : end - 1;
}

}  // namespace gca::text
