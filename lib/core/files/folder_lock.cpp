#include "lib/core/files/folder_lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/files/file_lock.h"
#include "lib/core/files/file_steps.h"
#include "lib/core/files/folder_exchange.h"

namespace gca {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockSuffix = ".tmp-lock";
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

/// Signals to this thread wait while it lives.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

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
    // A signal that ends the process removes the files that are known: this one is made and known at once.
    const SignalsHeld held;
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

/// Only where nobody else can be at work.
void remove_leftovers(const std::string& folder, const std::string& target) {
  for (const fs::path& leftover : temporaries_of(folder, target)) {
    std::error_code ignored;
    fs::remove_all(leftover, ignored);
  }
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
    finish_exchange(folder);
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
  if (error || path.empty()) fail_usage(path, "is not a usable path", "name a folder");
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

}  // namespace gca
