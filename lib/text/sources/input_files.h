#pragma once
// The files that INPUT... of a command line stands for.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gca::text {

struct InputFile {
  std::string path;        ///< as given, or the folder as given and the path below it; "-" is standard input
  bool is_stream = false;  ///< standard input, pipes: can be read only once
  size_t input = 0;        ///< number of the INPUT that it belongs to
};

struct InputFiles {
  std::vector<std::string> inputs;  ///< as given
  std::vector<InputFile> files;
  int64_t skipped_files = 0;  ///< entries of folders that were not taken
};

/// Folders give the files at any depth whose names one of the formats claims (formats.h), sorted by path;
/// when there are none, all their files. Links are followed, to folders also. Hidden files and folders, links
/// that lead nowhere or back to a folder above, and what is neither file nor folder are left out and counted.
/// Throws Error(usage) on a missing input, a folder without files, and a folder that cannot be read.
InputFiles list_input_files(std::span<const std::string> inputs);

}  // namespace gca::text
