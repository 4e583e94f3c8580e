#pragma once
// Everything below a folder, to see that a command left it as it was.

#include <filesystem>
#include <map>
#include <string>

#include "lib/core/checksums/checksum.h"
#include "lib/core/files/atomic_file.h"

/// Path below the folder to what is there: "folder", or a checksum of the file's bytes. Lock files are left out: they name
/// the process that held them last.
using FolderImage = std::map<std::string, std::string>;

inline FolderImage image_of(const std::string& folder) {
  FolderImage image;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder).string();
    if (entry.path().filename() == ".lock" || name.ends_with(".tmp-lock")) continue;
    if (entry.is_directory()) {
      image[name] = "folder";
    } else if (entry.is_regular_file()) {
      gca::Checksum checksum;
      checksum.update(gca::read_file(entry.path().string()));
      image[name] = checksum.text();
    }
  }
  return image;
}

/// The names that differ, one a line; empty where the two are the same.
inline std::string difference(const FolderImage& before, const FolderImage& after) {
  std::string text;
  for (const auto& [name, content] : before) {
    const auto found = after.find(name);
    if (found == after.end()) text += name + " is gone\n";
    if (found != after.end() && found->second != content) text += name + " has changed\n";
  }
  for (const auto& [name, content] : after)
    if (!before.contains(name)) text += name + " is new\n";
  return text;
}
