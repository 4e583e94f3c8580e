#include "lib/generate/text_stream.h"

#include <algorithm>

#include "lib/core/utf8.h"

namespace gca::generate {

std::string TextStream::append(std::string_view bytes) {
  if (stopped_) return "";
  const size_t before = text_.size();
  text_ += bytes;
  const size_t stop = find_stop(before);
  if (stop != std::string::npos) {
    text_.resize(stop);
    stopped_ = true;
    return finish();
  }
  const size_t ready = complete_utf8_prefix(std::string_view(text_).substr(0, start_of_possible_stop()));
  if (ready <= shown_) return "";
  const std::string shown = text_.substr(shown_, ready - shown_);
  shown_ = ready;
  return shown;
}

std::string TextStream::finish() {
  const std::string rest = text_.substr(std::min(shown_, text_.size()));
  shown_ = text_.size();
  return rest;
}

/// Where the stop text begins that is whole first, of those that end after byte `from`, the longest of equals;
/// npos where there is none. However the text is cut into tokens, it is the same one.
size_t TextStream::find_stop(size_t from) const {
  size_t begin = std::string::npos, end = std::string::npos;
  for (const std::string& stop : stop_texts_) {
    const size_t found = text_.find(stop, from - std::min(from, stop.size()));
    if (found == std::string::npos) continue;
    const size_t found_end = found + stop.size();
    if (found_end > end || (found_end == end && found >= begin)) continue;
    begin = found;
    end = found_end;
  }
  return begin;
}

size_t TextStream::start_of_possible_stop() const {
  size_t start = text_.size();
  for (const std::string& stop : stop_texts_) {
    for (size_t held = std::min(stop.size(), text_.size()); held > 0; --held) {
      if (!text_.ends_with(std::string_view(stop).substr(0, held))) continue;
      start = std::min(start, text_.size() - held);
      break;
    }
  }
  return start;
}

}  // namespace gca::generate
