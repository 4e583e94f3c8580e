#include "lib/core/files/atomic_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "lib/core/files/file_steps.h"
#include "lib/core/files/folder_exchange.h"
#include "lib/core/files/folder_lock.h"

namespace gca {

namespace fs = std::filesystem;

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
