// Zstandard (RFC 8878) by libzstd: any number of frames one after the other, skippable ones among them.

#include <zstd.h>
#include <zstd_errors.h>

#include <array>
#include <utility>

#include "lib/core/error.h"
#include "lib/text/sources/formats.h"

namespace gca::text {
namespace {

/// Of a frame, or of a skippable frame, with which files of several threads' writers begin.
bool begins_frame(std::string_view head) {
  const bool is_skippable = head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xF0) == 0x50 &&
                            head.substr(1).starts_with("\x2A\x4D\x18");
  return is_skippable || head.starts_with("\x28\xB5\x2F\xFD");
}

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<ByteStream> compressed)
      : compressed_(std::move(compressed)), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    if (!context_) fail_run(name(), "libzstd cannot be initialised");
  }

  size_t read(std::span<char> out) override {
    ZSTD_outBuffer output = {out.data(), out.size(), 0};
    for (;;) {
      if (input_.pos == input_.size && !holds_output_ && !refill()) {
        if (in_frame_) fail_usage(name(), "is a truncated zstd file", "get or write it again");
        return 0;
      }
      const size_t status = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(status)) fail_damaged(status);
      in_frame_ = status != 0;
      holds_output_ = in_frame_ && output.pos == output.size;
      if (output.pos > 0) return output.pos;
    }
  }

  const std::string& name() const override { return compressed_->name(); }

 private:
  bool refill() {
    input_ = {buffer_.data(), compressed_->read(buffer_), 0};
    return input_.size > 0;
  }

  [[noreturn]] void fail_damaged(size_t status) const {
    if (ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge)
      fail_usage(name(), "needs a zstd window of more than 128 MiB",
                 "compress it again without --long or --ultra");
    fail_usage(name(), std::string("is a damaged zstd file (") + ZSTD_getErrorName(status) + ")",
               "get or write it again");
  }

  std::unique_ptr<ByteStream> compressed_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  std::array<char, 65536> buffer_;
  ZSTD_inBuffer input_ = {buffer_.data(), 0, 0};
  bool in_frame_ = false;      ///< a frame is begun and not complete
  bool holds_output_ = false;  ///< more may come without further input
};

}  // namespace

extern const CompressionFormat kZstdFormat = {
    "zstd", ".zst", begins_frame, [](std::unique_ptr<ByteStream> compressed) -> std::unique_ptr<ByteStream> {
      return std::make_unique<ZstdStream>(std::move(compressed));
    }};

}  // namespace gca::text
