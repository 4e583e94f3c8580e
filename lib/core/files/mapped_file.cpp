#include "lib/core/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/core/error.h"

namespace gca {

MappedFile::MappedFile(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_usage(path, std::strerror(errno), "name a file that can be read");
  struct stat status;
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail_usage(path, "is not a regular file", "give a file on a disk");
  }
  size_bytes_ = static_cast<size_t>(status.st_size);
  if (size_bytes_ > 0) {
    void* mapping = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, descriptor, 0);
    const int error = errno;
    if (mapping == MAP_FAILED) {
      ::close(descriptor);
      fail_run(path, std::string("cannot be mapped: ") + std::strerror(error));
    }
    data_ = static_cast<const std::byte*>(mapping);
  }
  ::close(descriptor);  // the mapping stays
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

}  // namespace gca
