// Plain text: a file is one document.

#include <array>
#include <utility>

#include "lib/text/sources/formats.h"
#include "lib/text/sources/utf8_stream.h"

namespace gca::text {
namespace {

constexpr std::string_view kExtensions[] = {".txt", ".tex", ".md"};

class TextReader final : public DocumentReader {
 public:
  explicit TextReader(DocumentFile file) : path_(std::move(file.path)), stream_(std::move(file.stream)) {
    if (file.options.invalid_utf8 == InvalidUtf8::keep) return;
    const bool replaces = file.options.invalid_utf8 == InvalidUtf8::replace;
    stream_ = make_utf8_stream(std::move(stream_), replaces ? &file.counts.replaced_sequences : nullptr);
  }

  bool next() override { return !std::exchange(is_begun_, true); }
  std::string name() const override { return path_; }

  std::string_view read(size_t most_bytes) override {
    const size_t count = stream_->read(std::span(buffer_).first(std::min(buffer_.size(), most_bytes)));
    return {buffer_.data(), count};
  }

 private:
  std::string path_;
  std::unique_ptr<ByteStream> stream_;
  std::array<char, 65536> buffer_;
  bool is_begun_ = false;
};

}  // namespace

extern const DocumentFormat kTextFormat = {"text", kExtensions, [](std::string_view) { return true; },
                                           [](DocumentFile file) -> std::unique_ptr<DocumentReader> {
                                             return std::make_unique<TextReader>(std::move(file));
                                           }};

}  // namespace gca::text
