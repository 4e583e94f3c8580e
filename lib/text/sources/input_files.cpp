#include "lib/text/sources/input_files.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "lib/core/error.h"
#include "lib/text/sources/formats.h"

namespace fs = std::filesystem;

namespace gca::text {
namespace {

class FolderSearch {
 public:
  void enter(const fs::path& folder) {
    std::error_code error;
    // Where a link leads back to a folder above, its files would come again and again.
    const fs::path real = fs::canonical(folder, error);
    if (std::find(above_.begin(), above_.end(), real) != above_.end()) {
      ++skipped;
      return;
    }
    above_.push_back(real);
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      take(*entry);
    if (error)
      fail_usage(folder.string(), "cannot be read (" + error.message() + ")",
                 "name the files and folders beside it instead");
    above_.pop_back();
  }

  std::vector<std::string> claimed;  ///< by a format
  std::vector<std::string> others;
  int64_t skipped = 0;

 private:
  void take(const fs::directory_entry& entry) {
    std::error_code error;
    const bool is_hidden = entry.path().filename().string().starts_with(".");
    if (entry.is_directory(error)) {
      if (!is_hidden) enter(entry.path());
    } else if (is_hidden || !entry.is_regular_file(error)) {
      ++skipped;
    } else {
      (documents_by_name(entry.path().native()) != nullptr ? claimed : others).push_back(entry.path());
    }
  }

  std::vector<fs::path> above_;
};

void list_folder(const std::string& folder, size_t input, InputFiles& result) {
  FolderSearch search;
  search.enter(folder);
  if (search.claimed.empty()) std::swap(search.claimed, search.others);
  if (search.claimed.empty()) fail_usage(folder, "holds no files", "name files or folders with text");
  result.skipped_files += search.skipped + static_cast<int64_t>(search.others.size());
  std::sort(search.claimed.begin(), search.claimed.end());
  for (std::string& path : search.claimed) result.files.push_back({std::move(path), false, input});
}

}  // namespace

InputFiles list_input_files(std::span<const std::string> inputs) {
  InputFiles result;
  result.inputs.assign(inputs.begin(), inputs.end());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& input = inputs[i];
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (input == "-") {
      result.files.push_back({input, true, i});
    } else if (!fs::exists(status)) {
      fail_usage(input, "no such file or folder", "name files, folders, or - for standard input");
    } else if (fs::is_directory(status)) {
      list_folder(input, i, result);
    } else {
      result.files.push_back({input, !fs::is_regular_file(status), i});
    }
  }
  return result;
}

}  // namespace gca::text
