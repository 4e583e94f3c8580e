#pragma once
// What a file of documents may look like: how it is compressed, and how documents are stored in it. Each format is
// one file of this folder and one entry in a list of formats.cpp.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lib/text/sources/byte_stream.h"
#include "lib/text/sources/source_options.h"

namespace gca::text {

struct CompressionFormat {
  std::string_view name;       ///< "gzip"
  std::string_view extension;  ///< ".gz"
  bool (*begins_like)(std::string_view head);
  /// The bytes that were compressed. Reading throws Error(usage) where the file is truncated or damaged.
  std::unique_ptr<ByteStream> (*decompress)(std::unique_ptr<ByteStream> compressed);
};

/// The documents of one file, one after the other.
class DocumentReader {
 public:
  virtual ~DocumentReader() = default;
  /// Goes on to the next document, whatever was read of the last; false at the end of the file.
  virtual bool next() = 0;
  /// Name of the document that next() came to.
  virtual std::string name() const = 0;
  /// The next bytes of its text, at most `most_bytes` > 0, valid until the next call; empty at its end.
  virtual std::string_view read(size_t most_bytes) = 0;
};

/// What a DocumentReader is made of.
struct DocumentFile {
  std::string path;                    ///< as given: names of documents begin with it
  std::unique_ptr<ByteStream> stream;  ///< decompressed, without a byte-order mark
  const SourceOptions& options;
  SourceCounts& counts;  ///< of the reader's own: skipped lines, replaced sequences
};

struct DocumentFormat {
  std::string_view name;  ///< for --input-format
  /// Files of these names are read so, and are what is searched for in folders.
  std::span<const std::string_view> extensions;
  /// Decides where the name of a file is none of any format's.
  bool (*begins_like)(std::string_view head);
  std::unique_ptr<DocumentReader> (*open)(DocumentFile file);
};

std::span<const CompressionFormat> compression_formats();
/// The last one takes what no other claims.
std::span<const DocumentFormat> document_formats();

/// The format that a name's last extension indicates, or nullptr.
const CompressionFormat* compression_by_name(std::string_view path);
/// The same below an extension of compression: book.txt, corpus.jsonl.gz.
const DocumentFormat* documents_by_name(std::string_view path);

/// Bytes that the functions begins_like() and unsupported_format() want to see.
inline constexpr size_t kHeadBytes = 512;

/// What a file is that begins so, where it is known and no text: "xz", "Parquet". Else empty.
std::string_view unsupported_format(std::string_view head);

}  // namespace gca::text
