#pragma once
// The safetensors format: 8-byte little-endian header length, JSON header (dtype, shape, byte range of every
// tensor, and string metadata), raw row-major data. No tensors library here: rows of bytes with a type and a shape.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gca {

struct SafetensorsEntry {
  std::string dtype;  ///< "F32", "BF16", "F64", "I32", "I64", ...
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
  size_t size_bytes = 0;
};

/// Key of the metadata under which write_safetensors() keeps a checksum of all else in the file.
inline constexpr const char* kSafetensorsChecksum = "gca.checksum";

/// A mapped file; entries point into it while it lives. Every offset, size and shape is checked on opening: a
/// damaged or truncated file is Error(usage) naming the tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Error(usage) naming the tensor when it is not there.
  const SafetensorsEntry& at(const std::string& name) const;
  const std::string& path() const { return path_; }
  /// Reads the whole file: Error(usage) where names, types, shapes, metadata or data are not what was
  /// written. Files of other programs have no checksum, and pass.
  void verify() const;

 private:
  std::string path_;
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Size in bytes of one element of `dtype`; 0 for an unknown one.
size_t safetensors_dtype_size(const std::string& dtype);

struct SafetensorsTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

/// Writes a file (aside, flushed, renamed) with a checksum in its metadata, tensors back to back in the order
/// given; the header is padded so that the data begins at a multiple of 64 bytes.
void write_safetensors(const std::string& path, std::span<const SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace gca
