// gzip (RFC 1952) by zlib: any number of members one after the other, zero bytes as padding at the end.

#include <zlib.h>

#include <array>
#include <limits>
#include <utility>

#include "lib/core/error.h"
#include "lib/text/sources/formats.h"

namespace gca::text {
namespace {

constexpr std::string_view kMagic = "\x1F\x8B";

class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<ByteStream> compressed) : compressed_(std::move(compressed)) {
    constexpr int kWindowBits = 15 + 16;  // the largest window; a gzip header is expected
    if (inflateInit2(&inflater_, kWindowBits) != Z_OK) fail_run(name(), "zlib cannot be initialised");
  }
  ~GzipStream() override { inflateEnd(&inflater_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  size_t read(std::span<char> out) override {
    const size_t room = std::min<size_t>(out.size(), std::numeric_limits<uInt>::max());
    inflater_.next_out = reinterpret_cast<Bytef*>(out.data());
    inflater_.avail_out = static_cast<uInt>(room);
    while (!at_end_ && inflater_.avail_out == room) {
      if (inflater_.avail_in == 0 && !refill())
        fail_usage(name(), "is a truncated gzip file", "get or write it again");
      const int status = inflate(&inflater_, Z_NO_FLUSH);
      if (status == Z_STREAM_END)
        at_end_ = !begin_member();
      else if (status == Z_MEM_ERROR)
        fail_run(name(), "cannot be decompressed: out of memory");
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail_usage(name(),
                   std::string("is a damaged gzip file (") +
                       (inflater_.msg != nullptr ? inflater_.msg : "unknown data") + ")",
                   "get or write it again");
    }
    return room - inflater_.avail_out;
  }

  const std::string& name() const override { return compressed_->name(); }

 private:
  bool refill() {
    const size_t count = compressed_->read(input_);
    inflater_.next_in = reinterpret_cast<Bytef*>(input_.data());
    inflater_.avail_in = static_cast<uInt>(count);
    return count > 0;
  }

  /// False at the end of the file.
  bool begin_member() {
    while (inflater_.avail_in > 0 || refill()) {
      if (*inflater_.next_in == 0) {
        ++inflater_.next_in;
        --inflater_.avail_in;
        continue;
      }
      if (*inflater_.next_in != static_cast<Bytef>(kMagic.front()))
        fail_usage(name(), "has other bytes after its gzip data", "cut them off, or get the file again");
      inflateReset(&inflater_);
      return true;
    }
    return false;
  }

  std::unique_ptr<ByteStream> compressed_;
  std::array<char, 65536> input_;
  z_stream inflater_ = {};
  bool at_end_ = false;
};

}  // namespace

extern const CompressionFormat kGzipFormat = {
    "gzip", ".gz", [](std::string_view head) { return head.starts_with(kMagic); },
    [](std::unique_ptr<ByteStream> compressed) -> std::unique_ptr<ByteStream> {
      return std::make_unique<GzipStream>(std::move(compressed));
    }};

}  // namespace gca::text
