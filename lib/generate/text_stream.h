#pragma once
// Text that comes token by token, cut so that a reader never sees half a character or the start of a stop
// text.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gca::generate {

class TextStream {
 public:
  /// The first of these texts that comes whole ends the stream; none of them is empty.
  explicit TextStream(std::vector<std::string> stop_texts) : stop_texts_(std::move(stop_texts)) {}

  /// Adds the bytes of one token; returns what may be shown now.
  std::string append(std::string_view bytes);
  /// Returns what was still held back. Incomplete sequences are given as they are.
  std::string finish();

  /// True once a stop text has come; it is not part of the text.
  bool stopped() const { return stopped_; }
  /// All that has come so far, shown or held back.
  const std::string& text() const { return text_; }

 private:
  size_t find_stop(size_t from) const;
  size_t start_of_possible_stop() const;
  std::vector<std::string> stop_texts_;
  std::string text_;
  size_t shown_ = 0;
  bool stopped_ = false;
};

}  // namespace gca::generate
