#include "lib/data/output_folder.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/files/file_steps.h"
#include "lib/core/files/folder_lock.h"
#include "lib/data/sealed_json.h"

namespace fs = std::filesystem;

namespace gca::data {

std::string claim_output_folder(const std::string& folder, const std::string& format,
                                std::span<const char* const> own_names, const std::string& flag) {
  if (folder.empty()) fail_usage(flag, "is not a usable path", "name a folder");
  const std::string where = flag + " " + folder;
  const fs::path path = resolved_folder(folder);
  if (fs::exists(path) && !fs::is_directory(path)) fail_usage(where, "is a file", "name a folder");
  // Also completes what a killed process was putting in place.
  const FolderLock lock(path);
  if (!fs::exists(path)) return path.string();
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    const bool is_of_lock = name == ".tmp-lock" || is_temporary_name(name, "");
    const bool is_of_disk = name == "lost+found" && lock.is_filled_in_place();
    if (!is_of_lock && !is_of_disk) names.push_back(name);
  }
  if (names.empty()) return path.string();
  if (folder_format(path.string()) != format)
    fail_usage(where, "exists and was not written by this command",
               "name a new or empty folder, or an earlier output of the same command");
  for (const std::string& name : names) {
    const bool own = std::any_of(own_names.begin(), own_names.end(),
                                 [&](const char* prefix) { return name.starts_with(prefix); });
    if (!own)
      fail_usage(where, "would lose " + name + ", which this command did not write",
                 "move it away or name another folder");
  }
  return path.string();
}

}  // namespace gca::data
