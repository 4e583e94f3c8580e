#include "lib/text/sources/utf8_stream.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/core/utf8.h"

namespace gca::text {
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";
constexpr size_t kBufferBytes = 65536;

class Utf8Stream final : public ByteStream {
 public:
  Utf8Stream(std::unique_ptr<ByteStream> stream, int64_t* replaced_sequences)
      : stream_(std::move(stream)), replaced_sequences_(replaced_sequences) {}

  size_t read(std::span<char> out) override {
    while (given_ == checked_.size() && !at_end_) check_more();
    const size_t count = std::min(out.size(), checked_.size() - given_);
    std::copy_n(checked_.begin() + static_cast<std::ptrdiff_t>(given_), count, out.begin());
    given_ += count;
    return count;
  }

  const std::string& name() const override { return stream_->name(); }

 private:
  /// The next bytes of the stream, after what the last ones left of a sequence that was not complete.
  void check_more() {
    checked_.clear();
    given_ = 0;
    const size_t before = raw_.size();
    raw_.resize(before + kBufferBytes);
    const size_t count = stream_->read(std::span(raw_).subspan(before));
    raw_.resize(before + count);
    at_end_ = count == 0;
    std::string_view rest = raw_;
    while (!rest.empty()) {
      const size_t valid = valid_utf8_prefix(rest);
      line_ += std::count(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(valid), '\n');
      checked_ += rest.substr(0, valid);
      rest.remove_prefix(valid);
      if (rest.empty()) break;
      const Utf8Sequence sequence = first_utf8_sequence(rest);
      if (sequence.is_cut && !at_end_) break;
      if (replaced_sequences_ == nullptr)
        fail_usage(fmt::format("{}:{}", name(), line_), invalid_utf8_message(rest), kInvalidUtf8Remedy);
      ++*replaced_sequences_;
      checked_ += kReplacementCharacter;
      rest.remove_prefix(sequence.damaged);
    }
    raw_ = std::string(rest);
  }

  std::unique_ptr<ByteStream> stream_;
  int64_t* replaced_sequences_;
  std::string raw_;      ///< read, not yet checked
  std::string checked_;  ///< to be given
  size_t given_ = 0;     ///< bytes of checked_ that were given
  int64_t line_ = 1;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> make_utf8_stream(std::unique_ptr<ByteStream> stream,
                                             int64_t* replaced_sequences) {
  return std::make_unique<Utf8Stream>(std::move(stream), replaced_sequences);
}

std::string invalid_utf8_message(std::string_view text) {
  return fmt::format("holds the byte 0x{:02X}, which is not valid UTF-8",
                     static_cast<unsigned char>(text.front()));
}

}  // namespace gca::text
