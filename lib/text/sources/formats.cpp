#include "lib/text/sources/formats.h"

#include <algorithm>
#include <array>

namespace gca::text {

// One line a format, and one in the list: the file NAME_format.cpp has it.
extern const CompressionFormat kGzipFormat, kZstdFormat;
extern const DocumentFormat kJsonlFormat, kTextFormat;

namespace {

using namespace std::string_view_literals;

struct Signature {
  std::string_view name;
  size_t offset;
  std::string_view magic;
};

constexpr std::array kSignatures = {
    Signature{"xz", 0, "\xFD\x37\x7A\x58\x5A\0"sv},
    Signature{"bzip2", 4, "\x31\x41\x59\x26\x53\x59"sv},  // the first block, after "BZh" and a level
    Signature{"LZ4", 0, "\x04\x22\x4D\x18"sv},
    Signature{"LZ4", 0, "\x02\x21\x4C\x18"sv},
    Signature{"Snappy", 0, "\xFF\x06\0\0sNaPpY"sv},
    Signature{"compress (.Z)", 0, "\x1F\x9D"sv},
    Signature{"lzip", 0, "LZIP\x01"sv},
    Signature{"a zip archive", 0, "PK\x03\x04"sv},
    Signature{"a zip archive", 0, "PK\x05\x06"sv},  // an empty one
    Signature{"a 7z archive", 0, "7z\xBC\xAF\x27\x1C"sv},
    Signature{"a RAR archive", 0, "Rar!\x1A\x07"sv},
    Signature{"a tar archive", 257, "ustar"sv},
    Signature{"an ar archive", 0, "!<arch>\n"sv},
    Signature{"Parquet", 0, "PAR1\x15"sv},
    Signature{"Arrow", 0, "ARROW1\0"sv},
    Signature{"an Arrow stream", 0, "\xFF\xFF\xFF\xFF"sv},
    Signature{"Avro", 0, "Obj\x01"sv},
    Signature{"ORC", 0, "ORC\x11"sv},
    Signature{"HDF5", 0, "\x89HDF\r\n"sv},
    Signature{"a NumPy array", 0, "\x93NUMPY"sv},
    Signature{"an SQLite database", 0, "SQLite format 3\0"sv},
    Signature{"GGUF", 0, "GGUF\x02\0\0"sv},
    Signature{"GGUF", 0, "GGUF\x03\0\0"sv},
    Signature{"PDF", 0, "%PDF-"sv},
    Signature{"an Office document", 0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv},
    Signature{"a DjVu document", 0, "AT&TFORM"sv},
    Signature{"an ELF program or library", 0, "\x7F\x45LF"sv},
    Signature{"a Mach-O program or library", 0, "\xCF\xFA\xED\xFE"sv},
    Signature{"a Java class", 0, "\xCA\xFE\xBA\xBE"sv},
    Signature{"WebAssembly", 0, "\0asm"sv},
    Signature{"a PNG image", 0, "\x89PNG\r\n\x1A\n"sv},
    Signature{"a JPEG image", 0, "\xFF\xD8\xFF"sv},
    Signature{"a GIF image", 0, "GIF87a"sv},
    Signature{"a GIF image", 0, "GIF89a"sv},
    Signature{"a TIFF image", 0, "II*\0"sv},
    Signature{"a TIFF image", 0, "MM\0*"sv},
    Signature{"a WebP image", 8, "WEBPVP8"sv},
    Signature{"a WAVE sound", 8, "WAVEfmt "sv},
    Signature{"an Ogg sound or film", 0, "OggS\0"sv},
    Signature{"a FLAC sound", 0, "fLaC\0"sv},
    Signature{"an MP3 sound", 0, "ID3\x03"sv},
    Signature{"an MP3 sound", 0, "ID3\x04"sv},
    Signature{"a Matroska film", 0, "\x1A\x45\xDF\xA3"sv},
    Signature{"a Python pickle", 0, "\x80\x02"sv},
    Signature{"a Python pickle", 0, "\x80\x03"sv},
    Signature{"a Python pickle", 0, "\x80\x04\x95"sv},
    Signature{"a Python pickle", 0, "\x80\x05\x95"sv},
};

/// The size of its first box in four bytes, then the type of that.
bool is_mp4(std::string_view head) {
  return head.starts_with("\0\0\0"sv) && head.substr(std::min<size_t>(head.size(), 4)).starts_with("ftyp");
}

/// The length of its JSON header in eight bytes, then the header.
bool is_safetensors(std::string_view head) {
  return head.size() > 10 && head.substr(5, 3) == "\0\0\0"sv && head.substr(8, 2) == "{\"";
}

/// A protocol buffer whose first pieces, for which there is a short message each, are <unk>, <pad> or <s>.
bool is_sentencepiece_model(std::string_view head) {
  if (head.size() < 8 || head[0] != '\n' || head[2] != '\n') return false;
  const auto length = static_cast<size_t>(static_cast<unsigned char>(head[3]));
  return length >= 3 && head.size() > 4 + length && head[4] == '<' && head[3 + length] == '>' &&
         head[4 + length] == '\x15';
}

}  // namespace

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
  for (const Signature& signature : kSignatures)
    if (head.size() >= signature.offset && head.substr(signature.offset).starts_with(signature.magic))
      return signature.name;
  if (is_mp4(head)) return "an MP4 film";
  if (is_safetensors(head)) return "safetensors";
  if (is_sentencepiece_model(head)) return "a SentencePiece model";
  return {};
}

}  // namespace gca::text
