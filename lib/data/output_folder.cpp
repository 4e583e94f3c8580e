#include "lib/data/output_folder.h"

#include <algorithm>
#include <filesystem>

#include "lib/core/error.h"
#include "lib/data/sealed_json.h"

namespace fs = std::filesystem;

namespace gca::data {

std::string claim_output_folder(const std::string& folder, const std::string& format,
                                std::span<const char* const> own_names, const std::string& flag) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(folder), error);
  if (error || folder.empty()) fail_usage(flag + " " + folder, "is not a usable path", "name a folder");
  if (!path.has_filename()) path = path.parent_path();
  if (!fs::exists(path)) return path.string();
  if (!fs::is_directory(path)) fail_usage(flag + " " + folder, "is a file", "name a folder");
  if (fs::is_empty(path)) return path.string();
  if (folder_format(path.string()) != format)
    fail_usage(flag + " " + folder, "exists and was not written by this command",
               "name a new or empty folder, or an earlier output of the same command");
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    const bool own = std::any_of(own_names.begin(), own_names.end(),
                                 [&](const char* prefix) { return name.starts_with(prefix); });
    if (!own)
      fail_usage(flag + " " + folder, "would lose " + name + ", which this command did not write",
                 "move it away or name another folder");
  }
  return path.string();
}

}  // namespace gca::data
