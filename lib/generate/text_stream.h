#pragma once
// Text that comes token by token, cut so that a reader never sees half a character or the start of a stop
// text.

#include <string>
#include <string_view>

namespace gca::generate {

class TextStream {
 public:
  /// An empty stop text never stops.
  explicit TextStream(std::string stop_text) : stop_text_(std::move(stop_text)) {}

  /// Adds the bytes of one token; returns what may be shown now.
  std::string append(std::string_view bytes);
  /// Returns what was still held back. Incomplete sequences are given as they are.
  std::string finish();

  /// True once the stop text has come; it is not part of the text.
  bool stopped() const { return stopped_; }
  /// All that has come so far, shown or held back.
  const std::string& text() const { return text_; }

 private:
  size_t start_of_possible_stop() const;
  std::string stop_text_;
  std::string text_;
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace gca::generate
