#pragma once
// One writer of a folder at a time. How its versions take turns: folder_exchange.h.

#include <memory>
#include <string>

namespace gca {

/// The absolute path of a folder that may not exist yet, without symbolic links or a slash at its end.
std::string resolved_folder(const std::string& path);

/// Makes this process the only writer of a folder, which may not exist yet, for as long as the lock lives.
/// The lock is on NAME.tmp-lock beside the folder and, where the folder exists, on .tmp-lock in it: the other
/// writer may see it as a mount point. Within a process a folder may be locked several times. What a killed
/// process left of a version that it was writing is removed, or, where it was being put in place, completed.
class FolderLock {
 public:
  /// Throws Error(usage) where another process holds the lock, naming it, and where `folder` is a file or
  /// cannot be written. Missing folders above it are made, and removed with the lock where they stay empty.
  explicit FolderLock(const std::string& folder);

  /// resolved_folder() of it.
  const std::string& folder() const;
  /// Whether new versions are written into the folder and its files are exchanged one by one: it is a mount
  /// point, or nothing can be made beside it.
  bool is_filled_in_place() const;

 private:
  struct Held;
  std::shared_ptr<Held> held_;
};

/// Removes the lock files of this process. For the handler of a signal that ends it at once: safe in one.
void remove_lock_files();

}  // namespace gca
