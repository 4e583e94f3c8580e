#include "lib/core/files/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>

#include <fmt/format.h>

namespace gca {

LockState lock_file(int descriptor) {
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? LockState::busy : LockState::unsupported;
  }
  return LockState::held;
}

void sign_lock_file(int descriptor) {
  char host[HOST_NAME_MAX + 1] = {};
  ::gethostname(host, sizeof(host) - 1);
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host);
  // A signature that does not fit on the disk is only missing from a message.
  if (::ftruncate(descriptor, 0) == 0 && ::pwrite(descriptor, text.data(), text.size(), 0) < 0) return;
}

std::string lock_holder(const std::string& path) {
  std::string text(128 + HOST_NAME_MAX, '\0');
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t count = descriptor < 0 ? 0 : ::read(descriptor, text.data(), text.size());
  if (descriptor >= 0) ::close(descriptor);
  text.resize(count < 0 ? 0 : static_cast<size_t>(count));
  text = text.substr(0, text.find('\n'));
  return text.starts_with("process ") ? text : "another process";
}

void warn_without_locks(const std::string& path) {
  static std::atomic<bool> is_said = false;
  if (is_said.exchange(true)) return;
  fmt::print(stderr,
             "gca: warning: {}: its file system has no locks, so nothing keeps other processes from writing "
             "there at the same time\n",
             path);
}

}  // namespace gca
