#include "lib/generate/text_stream.h"

#include <algorithm>

#include "lib/core/utf8.h"

namespace gca::generate {

std::string TextStream::append(std::string_view bytes) {
  if (stopped_) return "";
  const size_t search_from = text_.size() - std::min(text_.size(), stop_text_.size());
  text_ += bytes;
  const size_t stop = stop_text_.empty() ? std::string::npos : text_.find(stop_text_, search_from);
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

size_t TextStream::start_of_possible_stop() const {
  for (size_t held = std::min(stop_text_.size(), text_.size()); held > 0; --held)
    if (text_.ends_with(std::string_view(stop_text_).substr(0, held))) return text_.size() - held;
  return text_.size();
}

}  // namespace gca::generate
