#include "lib/core/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "lib/core/error.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 18;
constexpr const char* kTemporaryMark = ".tmp-";

[[noreturn]] void fail_system(const std::string& path, const std::string& deed, int error) {
  fail_run(path, "cannot " + deed + ": " + std::strerror(error),
           error == ENOSPC || error == EDQUOT ? "free some space on that disk" : "");
}

/// What a symbolic link leads to, so that replacing it keeps the link; other paths as they are, "" as ".".
std::string follow_links(const std::string& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  const fs::path target = fs::weakly_canonical(path, error);
  return error ? path : target.string();
}

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

/// Unique in this process: "path.tmp-<pid>-<number>".
std::string temporary_name(const std::string& path) {
  static std::atomic<int64_t> counter = 0;
  return path + kTemporaryMark + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

/// A process that was killed left its temporary behind; whoever writes the same target next removes it.
void remove_leftovers(const std::string& path) {
  const std::string prefix = fs::path(path).filename().string() + kTemporaryMark;
  std::error_code ignored;
  for (fs::directory_iterator entry(parent_of(path), ignored), end; !ignored && entry != end;
       entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    pid_t writer = 0;
    const char* digits = name.data() + prefix.size();
    const auto [rest, error] = std::from_chars(digits, name.data() + name.size(), writer);
    if (error != std::errc() || *rest != '-' || writer <= 0) continue;
    if (::kill(writer, 0) == 0 || errno != ESRCH) continue;  // still at work
    std::error_code failure;
    fs::remove_all(entry->path(), failure);
  }
}

/// Makes a file's content or a folder's list of names durable.
void flush_to_disk(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "open to flush", errno);
  const int status = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (status != 0 && error != EINVAL)
    fail_system(path, "flush to disk", error);  // EINVAL: nothing to flush there
}

void flush_tree_to_disk(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() || entry.is_directory()) flush_to_disk(entry.path().string());
  flush_to_disk(folder);
}

void rename_or_fail(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_system(to, "rename its new version into place", errno);
}

/// Puts folder `fresh` in the place of `path`; afterwards the old one, if any, bears the name that is returned.
std::string exchange_folders(const std::string& fresh, const std::string& path) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return fresh;
  if (errno == ENOENT) {
    rename_or_fail(fresh, path);
    return "";
  }
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
    fail_system(path, "exchange with its new version", errno);
  // File systems that cannot exchange: for an instant there is no folder, but a complete one beside it.
  const std::string old = temporary_name(path);
  rename_or_fail(path, old);
  rename_or_fail(fresh, path);
  return old;
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
  do {
    temporary_path_ = temporary_name(path_);
    descriptor_ = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) {
    const int error = errno;
    temporary_path_.clear();
    fail_system(path_, "create", error);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void AtomicFile::write(const void* data, size_t size_bytes) {
  if (buffer_.size() + size_bytes > kBufferBytes) flush();
  if (size_bytes > kBufferBytes)
    write_now(data, size_bytes);
  else
    buffer_.append(static_cast<const char*>(data), size_bytes);
}

void AtomicFile::flush() {
  write_now(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write_now(const void* data, size_t size_bytes) {
  auto bytes = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t written = ::write(descriptor_, bytes, size_bytes);
    if (written < 0 && errno != EINTR) fail_system(path_, "write", errno);
    if (written > 0) bytes += written, size_bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  flush();
  if (temporary_path_.empty()) return;
  if (::fsync(descriptor_) != 0) fail_system(path_, "flush to disk", errno);
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) fail_system(path_, "close", errno);
  rename_or_fail(temporary_path_, path_);
  temporary_path_.clear();
  flush_to_disk(parent_of(path_));
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void replace_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill) {
  std::string target = follow_links(path);
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  if (fs::exists(target) && !fs::is_directory(target)) fail_usage(path, "is a file", "name a folder");

  std::error_code failure;
  fs::create_directories(parent_of(target), failure);
  if (failure) fail_system(parent_of(target), "create", failure.value());
  remove_leftovers(target);

  std::string fresh;
  int made = 0;
  do {
    fresh = temporary_name(target);
    made = ::mkdir(fresh.c_str(), 0777);
  } while (made != 0 && errno == EEXIST);
  if (made != 0) fail_system(target, "create", errno);
  std::string old;
  try {
    fill(fresh);
    flush_tree_to_disk(fresh);
    old = exchange_folders(fresh, target);
  } catch (...) {
    fs::remove_all(fresh, failure);
    throw;
  }
  flush_to_disk(parent_of(target));
  if (!old.empty()) fs::remove_all(old, failure);
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
