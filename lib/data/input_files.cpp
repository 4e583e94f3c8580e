#include "lib/data/input_files.h"

#include <algorithm>
#include <filesystem>

#include "lib/core/error.h"

namespace fs = std::filesystem;

namespace gca {
namespace {

bool is_text_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".txt" || extension == ".tex" || extension == ".md";
}

void list_folder(const std::string& folder, TextInputs& inputs) {
  std::vector<std::string> text_files, other_files;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    if (it->path().filename().string().starts_with(".")) {
      if (it->is_regular_file()) ++inputs.skipped_files;
      it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      (is_text_name(it->path()) ? text_files : other_files).push_back(it->path().string());
    }
  }
  if (text_files.empty()) std::swap(text_files, other_files);
  if (text_files.empty()) fail_usage(folder, "holds no files", "name files or folders with text");
  inputs.skipped_files += static_cast<int64_t>(other_files.size());
  std::sort(text_files.begin(), text_files.end());
  for (std::string& path : text_files) inputs.texts.push_back({std::move(path), false});
}

}  // namespace

TextInputs list_text_inputs(std::span<const std::string> inputs) {
  TextInputs result;
  for (const std::string& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (input == "-") {
      result.texts.push_back({input, true});
    } else if (!fs::exists(status)) {
      fail_usage(input, "no such file or folder", "name files, folders, or - for standard input");
    } else if (fs::is_directory(status)) {
      list_folder(input, result);
    } else {
      result.texts.push_back({input, !fs::is_regular_file(status)});
    }
  }
  return result;
}

}  // namespace gca
