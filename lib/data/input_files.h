#pragma once
// What INPUT... of a command line stands for: files, folders (searched for text files), "-" for standard input.

#include <span>
#include <string>
#include <vector>

namespace gca {

struct TextInput {
  std::string name;        ///< as given, or the folder as given and the path below it
  bool is_stream = false;  ///< standard input, pipes: read once, front to back
};

struct TextInputs {
  std::vector<TextInput> texts;
  int64_t skipped_files = 0;  ///< files in folders that were not taken
};

/// Folders give their *.txt, *.tex and *.md files, sorted by path; when there are none, all their regular
/// files. Hidden files and folders are left out. Throws Error(usage) on a missing input or a folder without files.
TextInputs list_text_inputs(std::span<const std::string> inputs);

}  // namespace gca
