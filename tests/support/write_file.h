#pragma once

#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <string>

namespace gca::testing {

/// Writes a file of a test, which need not outlast the machine. An old file is removed first: file systems
/// wait for the disk when a file is truncated or another is renamed over it.
inline void write_file(const std::string& path, const std::string& content) {
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  REQUIRE(file);
}

}  // namespace gca::testing
