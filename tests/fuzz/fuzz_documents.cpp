// Files of documents: plain text, JSON lines, compressed by gzip or zstd (tokenize INPUT). Whatever the bytes
// are, reading them in small pieces gives the same as in large ones.

#include <algorithm>

#include "lib/text/sources/document_source.h"
#include "tests/fuzz/fuzz_support.h"

namespace {

/// Names and texts of the documents that could be read to their ends, then the error that stopped it, if any.
std::string read_all(const std::string& path, const gca::text::SourceOptions& options, size_t piece_bytes) {
  std::string all;
  try {
    gca::text::DocumentSource source(gca::text::list_input_files(std::vector{path}), options);
    while (source.next()) {
      std::string document = source.name() + "\n";
      // A few bytes may decompress to very many.
      for (size_t left = size_t{1} << 20;;) {
        const std::string_view text = source.read(std::min(piece_bytes, left));
        if (text.empty()) break;
        document += text;
        left -= text.size();
        if (left == 0) return all + document;
      }
      all += document;
    }
  } catch (const gca::Error& error) {
    all += error.what();
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = scratch_folder() + "/input";
  put(path, text_of(data, size));
  using gca::text::InvalidUtf8;
  for (const char* format : {"auto", "text", "jsonl"})
    for (const InvalidUtf8 invalid_utf8 : {InvalidUtf8::error, InvalidUtf8::replace, InvalidUtf8::keep}) {
      gca::text::SourceOptions options;
      options.format = format;
      options.invalid_utf8 = invalid_utf8;
      options.skip_bad = invalid_utf8 == InvalidUtf8::replace;
      if (read_all(path, options, 7) != read_all(path, options, size_t{1} << 20)) abort();
    }
  return 0;
}
