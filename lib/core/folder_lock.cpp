#include "lib/core/folder_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "lib/core/atomic_file.h"
#include "lib/core/error.h"
#include "lib/core/file_lock.h"
#include "lib/core/file_steps.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockSuffix = ".tmp-lock";
// In a folder whose files are exchanged one by one: the new version from when it is complete, the old one
// while it is moved away, and the old one once all of it is.
constexpr const char* kNext = "/.tmp-next";
constexpr const char* kOld = "/.tmp-old";
constexpr const char* kRemoved = "/.tmp-removed";

/// A mount point can be neither renamed nor exchanged.
bool is_mount_point(const std::string& folder) {
  struct statx status;
  if (::statx(AT_FDCWD, folder.c_str(), 0, STATX_BASIC_STATS, &status) == 0 &&
      (status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
    return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  struct stat own, above;
  return ::stat(folder.c_str(), &own) == 0 && ::stat((folder + "/..").c_str(), &above) == 0 &&
         own.st_dev != above.st_dev;
}

/// Paths of the lock files that are held, for remove_lock_files(). More are simply not known to it.
constexpr size_t kMostPaths = 16;
std::array<std::atomic<const char*>, kMostPaths> g_lock_paths{};
static_assert(std::atomic<const char*>::is_always_lock_free);

void exchange_known_path(const char* before, const char* after) {
  for (auto& path : g_lock_paths)
    if (const char* expected = before; path.compare_exchange_strong(expected, after)) return;
}

/// A lock file that is removed with the lock.
class LockFile {
 public:
  explicit LockFile(std::string path) : path_(std::move(path)) {}

  ~LockFile() {
    if (descriptor_ < 0) return;
    exchange_known_path(path_.c_str(), nullptr);
    if (is_in_place()) ::unlink(path_.c_str());
    ::close(descriptor_);
  }

  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  /// 0, or errno where the file cannot be made. Throws Error(usage) where another process holds the lock of
  /// `folder`.
  int lock(const std::string& folder) {
    for (;;) {
      descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
      if (descriptor_ < 0) return errno;
      const LockState state = lock_file(descriptor_);
      if (state == LockState::busy) {
        ::close(std::exchange(descriptor_, -1));
        fail_usage(folder, "is being written by " + lock_holder(path_),
                   "wait for it, or name another folder");
      }
      is_supported_ = state == LockState::held;
      // The holder before may have removed the file between opening and locking it.
      if (is_in_place()) break;
      ::close(std::exchange(descriptor_, -1));
    }
    exchange_known_path(nullptr, path_.c_str());
    sign_lock_file(descriptor_);
    return 0;
  }

  bool is_supported() const { return is_supported_; }

 private:
  bool is_in_place() const {
    struct stat opened, found;
    return ::fstat(descriptor_, &opened) == 0 && ::stat(path_.c_str(), &found) == 0 &&
           opened.st_dev == found.st_dev && opened.st_ino == found.st_ino;
  }

  std::string path_;
  int descriptor_ = -1;
  bool is_supported_ = true;
};

[[noreturn]] void fail_to_write(const std::string& folder, int error) {
  if (is_unwritable(error))
    fail_usage(folder, std::string("cannot be written: ") + std::strerror(error),
               "name a folder that can be written");
  fail_system(folder, "write", error);
}

/// Removes the entries of `folder` that are temporaries of `target`: only where nobody else can be at work.
void remove_leftovers(const std::string& folder, const std::string& target) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (is_temporary_name(entry->path().filename().string(), target)) fs::remove_all(entry->path(), ignored);
  }
}

void flush_tree_to_disk(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() || entry.is_directory()) flush_to_disk(entry.path().string());
  flush_to_disk(folder);
}

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

/// Puts the version that stands in kNext in the place of the folder's own files. Also where a process was
/// killed while it did so.
void finish_exchange_of_files(const std::string& folder) {
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

/// The same for a version under any other name, beside the folder or in it.
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
  finish_exchange_of_files(folder);
}

/// Puts folder `fresh` in the place of `path`; afterwards the old one, if any, bears the name that is returned.
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

}  // namespace

struct FolderLock::Held {
  explicit Held(std::string path) : folder(std::move(path)) {
    std::error_code error;
    const bool exists = fs::exists(folder, error);
    if (exists && !fs::is_directory(folder, error)) fail_usage(folder, "is a file", "name a folder");
    make_parents();
    try {
      lock(exists);
    } catch (...) {
      release();
      throw;
    }
  }

  ~Held() { release(); }

  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  void lock(bool exists) {
    fills_in_place = exists && is_mount_point(folder);
    int failure = 0;
    if (!fills_in_place) {
      failure = beside.emplace(folder + kLockSuffix).lock(folder);
      if (failure != 0) beside.reset();
      if (failure != 0 && !(exists && is_unwritable(failure))) fail_to_write(folder, failure);
      fills_in_place = failure != 0;
    }
    if (exists) {
      failure = inside.emplace(folder + "/" + kLockSuffix).lock(folder);
      if (failure != 0) inside.reset();
      if (failure != 0 && (fills_in_place || !is_unwritable(failure))) fail_to_write(folder, failure);
    }
    const bool is_supported = (!beside || beside->is_supported()) && (!inside || inside->is_supported());
    if (!is_supported) {
      warn_without_locks(folder);
      return;
    }
    if (beside) remove_leftovers(parent_of(folder), fs::path(folder).filename().string());
    if (!inside) return;
    remove_leftovers(folder, "");
    finish_exchange_of_files(folder);
  }

  void make_parents() {
    std::error_code error;
    std::vector<fs::path> missing;
    for (fs::path at = parent_of(folder); !at.empty() && !fs::exists(at, error); at = at.parent_path())
      missing.push_back(at);
    for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
      if (::mkdir(at->c_str(), 0777) == 0) {
        made_parents.push_back(*at);
      } else if (errno != EEXIST) {
        const int failure = errno;
        release();
        fail_to_write(at->string(), failure);
      }
    }
  }

  void release() {
    beside.reset();
    inside.reset();
    // Those that are empty.
    for (auto at = made_parents.rbegin(); at != made_parents.rend(); ++at) ::rmdir(at->c_str());
  }

  std::string folder;
  std::vector<fs::path> made_parents;
  std::optional<LockFile> beside, inside;
  bool fills_in_place = false;
};

std::string resolved_folder(const std::string& path) {
  std::error_code error;
  fs::path folder = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error || path.empty()) fail_usage(path, "is no usable path", "name a folder");
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.string();
}

FolderLock::FolderLock(const std::string& folder) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<Held>> locks;
  const std::string path = resolved_folder(folder);
  const std::lock_guard guard(mutex);
  std::weak_ptr<Held>& known = locks[path];
  held_ = known.lock();
  if (held_) return;
  held_ = std::make_shared<Held>(path);
  known = held_;
}

const std::string& FolderLock::folder() const {
  return held_->folder;
}

bool FolderLock::is_filled_in_place() const {
  return held_->fills_in_place;
}

void remove_lock_files() {
  for (const auto& path : g_lock_paths)
    if (const char* known = path.load()) ::unlink(known);
}

void replace_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill) {
  const FolderLock lock(path);
  const std::string& target = lock.folder();
  std::string fresh;
  int made = 0;
  do {
    fresh = temporary_name(lock.is_filled_in_place() ? target + "/" : target);
    made = ::mkdir(fresh.c_str(), 0777);
  } while (made != 0 && errno == EEXIST);
  if (made != 0) fail_system(target, "create", errno);
  std::string old;
  std::error_code failure;
  try {
    fill(fresh);
    flush_tree_to_disk(fresh);
    if (lock.is_filled_in_place())
      exchange_files(fresh, target);
    else
      old = exchange_folders(fresh, target);
  } catch (...) {
    fs::remove_all(fresh, failure);
    throw;
  }
  if (!lock.is_filled_in_place()) flush_to_disk(parent_of(target));
  if (!old.empty()) fs::remove_all(old, failure);
}

}  // namespace gca
