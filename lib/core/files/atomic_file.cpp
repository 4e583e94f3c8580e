#include "lib/core/files/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "lib/core/error.h"
#include "lib/core/files/file_lock.h"
#include "lib/core/files/file_steps.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 18;

/// A process that was killed left its temporary behind; whoever writes the same file next removes it. Its lock
/// tells whether it is still at work.
void remove_leftovers(const std::string& path) {
  for (const fs::path& leftover : temporaries_of(parent_of(path), fs::path(path).filename().string())) {
    std::error_code ignored;
    if (!fs::is_regular_file(leftover, ignored)) continue;
    const int descriptor = ::open(leftover.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (lock_file(descriptor) == LockState::held) ::unlink(leftover.c_str());
    ::close(descriptor);
  }
}

/// Creates a temporary of `path` and locks it; -1 and errno where none can be made.
int open_temporary(const std::string& path, std::string& temporary_path) {
  for (;;) {
    temporary_path = temporary_name(path);
    const int descriptor = ::open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST) continue;
    if (descriptor < 0) return -1;
    // Between opening and locking it may have been taken for a leftover.
    const LockState state = lock_file(descriptor);
    struct stat status;
    if (state != LockState::busy && ::fstat(descriptor, &status) == 0 && status.st_nlink > 0)
      return descriptor;
    ::close(descriptor);
  }
}

void write_all(int descriptor, const void* data, size_t size_bytes, const std::string& path) {
  auto bytes = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t written = ::write(descriptor, bytes, size_bytes);
    if (written < 0 && errno != EINTR) fail_system(path, "write", errno);
    if (written > 0) bytes += written, size_bytes -= static_cast<size_t>(written);
  }
}

/// Gives a file that is there new content, in place.
void overwrite(const std::string& path, std::string_view content) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "write", errno);
  try {
    write_all(descriptor, content.data(), content.size(), path);
    if (::ftruncate(descriptor, static_cast<off_t>(content.size())) != 0) fail_system(path, "write", errno);
    if (::fsync(descriptor) != 0) fail_system(path, "flush to disk", errno);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(follow_links(path)) {
  struct stat status;
  if (::stat(path_.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) fail_usage(path_, "is a folder", "name a file");
    if (!S_ISREG(status.st_mode)) {
      descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
      if (descriptor_ < 0) fail_system(path_, "write", errno);
      return;
    }
  }
  remove_leftovers(path_);
  descriptor_ = open_temporary(path_, temporary_path_);
  if (descriptor_ >= 0) return;
  const int error = errno;
  temporary_path_.clear();
  // Where nothing can be made beside a file, commit() writes the file itself.
  if (!is_unwritable(error) || ::access(path_.c_str(), W_OK) != 0) fail_system(path_, "create", error);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void AtomicFile::write(const void* data, size_t size_bytes) {
  const bool keeps_all = descriptor_ < 0;
  if (!keeps_all && buffer_.size() + size_bytes > kBufferBytes) flush();
  if (!keeps_all && size_bytes > kBufferBytes)
    write_now(data, size_bytes);
  else
    buffer_.append(static_cast<const char*>(data), size_bytes);
}

void AtomicFile::flush() {
  write_now(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write_now(const void* data, size_t size_bytes) {
  write_all(descriptor_, data, size_bytes, path_);
}

void AtomicFile::commit() {
  if (descriptor_ < 0) return overwrite(path_, buffer_);
  flush();
  if (temporary_path_.empty()) return;
  if (::fsync(descriptor_) != 0) fail_system(path_, "flush to disk", errno);
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_system(path_, "close", errno);
  if (::rename(temporary_path_.c_str(), path_.c_str()) == 0) {
    temporary_path_.clear();
    flush_to_disk(parent_of(path_));
  } else if (errno == EBUSY) {  // a mount point
    overwrite(path_, read_file(temporary_path_));
  } else {
    fail_system(path_, "rename its new version into place", errno);
  }
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

std::string read_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_usage(path, std::strerror(errno), "name a file that can be read");
  std::string content;
  std::string block(kBufferBytes, '\0');
  for (;;) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      ::close(descriptor);
      fail_usage(path, std::strerror(error), "name a file that can be read");
    }
    if (count == 0) break;
    content.append(block.data(), static_cast<size_t>(count));
  }
  ::close(descriptor);
  return content;
}

}  // namespace gca
