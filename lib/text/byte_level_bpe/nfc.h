#pragma once
// Unicode's normal form C, with the places of the text that it leaves where they are.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gca::text {

class NfcText {
 public:
  /// Bytes outside of UTF-8 are kept.
  explicit NfcText(std::string_view text);
  const std::string& text() const { return text_; }
  /// The place in the original that a place of text() corresponds to; nothing within a stretch that was
  /// changed.
  std::optional<size_t> place_in_original(size_t place) const;

 private:
  struct Change {
    size_t begin, end;    ///< in text()
    size_t original_end;  ///< in the original
  };
  std::string text_;
  std::vector<Change> changes_;  ///< in order
};

/// Bytes of `text` before its last ASCII character: whatever follows the text, these are normalised alike.
size_t nfc_stable_prefix(std::string_view text);

}  // namespace gca::text
