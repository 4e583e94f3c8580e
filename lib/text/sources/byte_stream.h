#pragma once
// Bytes that are read once, front to back: of a file, of a pipe, or decompressed from one.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace gca::text {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Fills the front of `out`, which is not empty. Returns how many bytes it filled: 0 only at the end.
  virtual size_t read(std::span<char> out) = 0;
  /// What error messages call it.
  virtual const std::string& name() const = 0;
};

/// A stream whose first bytes can be looked at before they are read.
class PeekStream final : public ByteStream {
 public:
  explicit PeekStream(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)) {}

  /// The next `size_bytes` bytes; fewer where the stream ends before. Valid until the next call.
  std::string_view peek(size_t size_bytes) {
    while (head_.size() < size_bytes && !at_end_) {
      const size_t before = head_.size();
      head_.resize(size_bytes);
      const size_t count = stream_->read(std::span(head_).subspan(before));
      head_.resize(before + count);
      at_end_ = count == 0;
    }
    return std::string_view(head_).substr(0, size_bytes);
  }

  /// Drops bytes that peek() has shown.
  void skip(size_t size_bytes) { head_.erase(0, size_bytes); }

  size_t read(std::span<char> out) override {
    if (head_.empty()) return at_end_ ? 0 : stream_->read(out);
    const size_t count = std::min(out.size(), head_.size());
    std::copy_n(head_.begin(), count, out.begin());
    skip(count);
    return count;
  }

  const std::string& name() const override { return stream_->name(); }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::string head_;
  bool at_end_ = false;
};

}  // namespace gca::text
