#include "lib/core/files/file_steps.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "lib/core/error.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryMark = ".tmp-";

}  // namespace

void fail_system(const std::string& path, const std::string& deed, int error) {
  fail_run(path, "cannot " + deed + ": " + std::strerror(error),
           error == ENOSPC || error == EDQUOT ? "free some space on that disk" : "");
}

bool is_unwritable(int error) {
  return error == EACCES || error == EPERM || error == EROFS || error == ENOENT || error == ENOTDIR ||
         error == ELOOP || error == ENAMETOOLONG;
}

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

std::string temporary_name(const std::string& path) {
  static std::atomic<int64_t> counter = 0;
  return path + std::string(kTemporaryMark) + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

bool is_temporary_name(std::string_view name, const std::string& target) {
  if (!name.starts_with(target)) return false;
  name.remove_prefix(target.size());
  if (!name.starts_with(kTemporaryMark)) return false;
  name.remove_prefix(kTemporaryMark.size());
  const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  return digits > 0 && name.substr(digits).starts_with("-");
}

std::vector<fs::path> temporaries_of(const std::string& folder, const std::string& target) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (is_temporary_name(entry->path().filename().string(), target)) found.push_back(entry->path());
  return found;
}

void flush_to_disk(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "open to flush", errno);
  const int status = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (status != 0 && error != EINVAL)
    fail_system(path, "flush to disk", error);  // EINVAL: nothing to flush there
}

void rename_or_fail(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_system(to, "rename its new version into place", errno);
}

}  // namespace gca
