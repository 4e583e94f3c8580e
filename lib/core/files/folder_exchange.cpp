#include "lib/core/files/folder_exchange.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "lib/core/files/file_steps.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

// In a folder whose files are exchanged one by one: the new version from when it is complete, the old one
// while it is moved away, and the old one once all of it is.
constexpr const char* kNext = "/.tmp-next";
constexpr const char* kOld = "/.tmp-old";
constexpr const char* kRemoved = "/.tmp-removed";

/// What a version of a folder is made of: everything but temporaries and what a disk holds of its own.
std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string();
        !name.starts_with(".tmp-") && name != "lost+found")
      names.push_back(name);
  return names;
}

void move_entries(const std::string& from, const std::string& to, bool json_first) {
  std::vector<std::string> names = entries_of(from);
  std::stable_partition(names.begin(), names.end(),
                        [&](const std::string& name) { return name.ends_with(".json") == json_first; });
  for (const std::string& name : names) rename_or_fail((from + "/").append(name), (to + "/").append(name));
  flush_to_disk(to);
  flush_to_disk(from);
}

}  // namespace

void flush_tree_to_disk(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() || entry.is_directory()) flush_to_disk(entry.path().string());
  flush_to_disk(folder);
}

void finish_exchange(const std::string& folder) {
  const std::string next = folder + kNext, old = folder + kOld, removed = folder + kRemoved;
  std::error_code error;
  if (fs::exists(next, error)) {
    if (!fs::exists(removed, error)) {
      fs::create_directory(old);
      move_entries(folder, old, /*json_first=*/true);
      rename_or_fail(old, removed);
    }
    move_entries(next, folder, /*json_first=*/false);
    fs::remove_all(next);
  }
  fs::remove_all(removed, error);
}

void exchange_files(const std::string& fresh, const std::string& folder) {
  std::string inside = fresh;
  if (parent_of(fresh) != folder) {
    inside = temporary_name(folder + "/");
    if (::rename(fresh.c_str(), inside.c_str()) != 0) {
      if (errno != EXDEV) fail_system(folder, "rename its new version into it", errno);
      fs::copy(fresh, inside, fs::copy_options::recursive);
      flush_tree_to_disk(inside);
      fs::remove_all(fresh);
    }
  }
  rename_or_fail(inside, folder + kNext);
  flush_to_disk(folder);
  finish_exchange(folder);
}

std::string exchange_folders(const std::string& fresh, const std::string& path) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return fresh;
  const int error = errno;
  // Some systems refuse to exchange before they look what there is (gVisor).
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    rename_or_fail(fresh, path);
    return "";
  }
  const auto is_fixed = [](int failure) { return failure == EBUSY || failure == EXDEV; };
  if (error != EINVAL && error != ENOSYS && error != ENOTSUP && !is_fixed(error))
    fail_system(path, "exchange with its new version", error);
  const std::string old = temporary_name(path);
  if (is_fixed(error) || ::rename(path.c_str(), old.c_str()) != 0) {
    if (!is_fixed(error) && !is_fixed(errno)) fail_system(path, "rename its new version into place", errno);
    exchange_files(fresh, path);
    return "";
  }
  // For an instant there is no folder, but a complete one beside it.
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    const int failure = errno;
    ::rename(old.c_str(), path.c_str());
    fail_system(path, "rename its new version into place", failure);
  }
  return old;
}

}  // namespace gca
