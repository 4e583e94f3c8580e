#pragma once
// A read-only memory-mapped file.

#include <cstddef>
#include <string>

namespace gca {

class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error(usage) when the file is missing or unreadable. An empty file gives size_bytes() == 0.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace gca
