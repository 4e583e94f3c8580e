#include "lib/text/sources/document_source.h"

#include <utility>

#include "lib/core/error.h"
#include "lib/text/sources/file_stream.h"
#include "lib/text/sources/no_text.h"

namespace gca::text {
namespace {

constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";

/// By its first bytes. A name that tells another format than the content is an error: a download may have
/// failed.
std::unique_ptr<PeekStream> decompressed(std::unique_ptr<PeekStream> stream, const std::string& path) {
  const std::string_view head = stream->peek(kHeadBytes);
  for (const CompressionFormat& format : compression_formats())
    if (format.begins_like(head)) return std::make_unique<PeekStream>(format.decompress(std::move(stream)));
  if (const CompressionFormat* named = compression_by_name(path))
    fail_usage(path,
               "is named *" + std::string(named->extension) +
                   (head.empty() ? " and is empty" : " and is not ") +
                   (head.empty() ? "" : std::string(named->name)),
               "get or write it again, or rename it");
  return stream;
}

/// Drops the byte-order mark of UTF-8; refuses those of other encodings.
void take_byte_order_mark(PeekStream& stream) {
  using namespace std::string_view_literals;
  const std::string_view head = stream.peek(4);
  const auto refuse = [&](const std::string& encoding) {
    fail_usage(stream.name(), "is " + encoding + " text", "convert it: iconv -f " + encoding + " -t UTF-8");
  };
  if (head.starts_with("\xFF\xFE\0\0"sv) || head.starts_with("\0\0\xFE\xFF"sv)) refuse("UTF-32");
  if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF")) refuse("UTF-16");
  if (head.starts_with(kUtf8Mark)) stream.skip(kUtf8Mark.size());
}

const DocumentFormat& format_named(const std::string& name) {
  std::string known = "auto";
  for (const DocumentFormat& format : document_formats()) {
    if (format.name == name) return format;
    known += ", " + std::string(format.name);
  }
  fail_usage("--input-format " + name, "is not a format", "choose one of " + known);
}

const DocumentFormat& format_of(const std::string& path, std::string_view head,
                                const SourceOptions& options) {
  if (options.format != "auto") return format_named(options.format);
  if (const DocumentFormat* named = documents_by_name(path)) return *named;
  for (const DocumentFormat& format : document_formats())
    if (format.begins_like(head)) return format;
  return document_formats().back();
}

std::unique_ptr<DocumentReader> open_documents(const std::string& path, const SourceOptions& options,
                                               SourceCounts& counts) {
  auto stream = decompressed(std::make_unique<PeekStream>(open_file_stream(path, options.poll)), path);
  constexpr const char* kWhatIsRead =
      "give plain text or JSON Lines, as they are or compressed with gzip or zstd";
  if (const std::string_view format = unsupported_format(stream->peek(kHeadBytes)); !format.empty())
    fail_usage(stream->name(), "is " + std::string(format) + ", which gca does not read", kWhatIsRead);
  take_byte_order_mark(*stream);
  if (options.invalid_utf8 == InvalidUtf8::error && is_binary(stream->peek(kHeadBytes)))
    fail_usage(stream->name(), "is binary data and no text", kWhatIsRead);
  const DocumentFormat& format = format_of(path, stream->peek(kHeadBytes), options);
  return format.open({path, std::move(stream), options, counts});
}

}  // namespace

DocumentSource::DocumentSource(InputFiles inputs, SourceOptions options)
    : inputs_(std::move(inputs)), options_(std::move(options)) {
  if (options_.format != "auto") format_named(options_.format);
  for (const std::string& input : inputs_.inputs) {
    SourceCounts counts;
    counts.input = input;
    counts_.push_back(std::move(counts));
  }
}

bool DocumentSource::next() {
  while (!reader_ || !reader_->next()) {
    reader_.reset();
    if (next_file_ == inputs_.files.size()) return false;
    const InputFile& file = inputs_.files[next_file_++];
    SourceCounts& counts = counts_[file.input];
    ++counts.files;
    reader_ = open_documents(file.path, options_, counts);
  }
  ++counts_[inputs_.files[next_file_ - 1].input].documents;
  return true;
}

std::string_view DocumentSource::read(size_t most_bytes) {
  const std::string_view text = reader_->read(most_bytes);
  counts_[inputs_.files[next_file_ - 1].input].bytes += static_cast<int64_t>(text.size());
  return text;
}

}  // namespace gca::text
