#include "lib/text/sources/formats.h"

#include <array>

namespace gca::text {

// One line a format, and one in the list: the file NAME_format.cpp has it.
extern const CompressionFormat kGzipFormat, kZstdFormat;
extern const DocumentFormat kJsonlFormat, kTextFormat;

std::span<const CompressionFormat> compression_formats() {
  static const std::array list = {kGzipFormat, kZstdFormat};
  return list;
}

std::span<const DocumentFormat> document_formats() {
  static const std::array list = {kJsonlFormat, kTextFormat};
  return list;
}

const CompressionFormat* compression_by_name(std::string_view path) {
  for (const CompressionFormat& format : compression_formats())
    if (path.ends_with(format.extension)) return &format;
  return nullptr;
}

const DocumentFormat* documents_by_name(std::string_view path) {
  if (const CompressionFormat* compression = compression_by_name(path))
    path.remove_suffix(compression->extension.size());
  for (const DocumentFormat& format : document_formats())
    for (const std::string_view extension : format.extensions)
      if (path.ends_with(extension)) return &format;
  return nullptr;
}

std::string_view unsupported_format(std::string_view head) {
  struct Signature {
    std::string_view name;
    size_t offset;
    std::string_view magic;
  };
  using namespace std::string_view_literals;
  constexpr std::array kSignatures = {
      Signature{"xz", 0, "\xFD\x37\x7A\x58\x5A\0"sv},
      Signature{"bzip2", 4, "\x31\x41\x59\x26\x53\x59"sv},  // the first block, after "BZh" and a level
      Signature{"LZ4", 0, "\x04\x22\x4D\x18"sv},
      Signature{"a zip archive", 0, "PK\x03\x04"sv},
      Signature{"a tar archive", 257, "ustar"sv},
      Signature{"Parquet", 0, "PAR1\x15"sv},
      Signature{"Arrow", 0, "ARROW1\0"sv},
      Signature{"PDF", 0, "%PDF-"sv},
  };
  for (const Signature& signature : kSignatures)
    if (head.size() >= signature.offset && head.substr(signature.offset).starts_with(signature.magic))
      return signature.name;
  return {};
}

}  // namespace gca::text
