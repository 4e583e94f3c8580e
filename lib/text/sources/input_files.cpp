#include "lib/text/sources/input_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "lib/core/error.h"
#include "lib/text/sources/formats.h"
#include "lib/text/sources/no_text.h"

namespace fs = std::filesystem;

namespace gca::text {
namespace {

class FolderSearch {
 public:
  /// Folders that stand there come before those that links lead to, so that names do not hang on the order of
  /// the disk.
  void search(const std::string& folder) {
    enter(folder);
    while (!linked_.empty()) {
      std::vector<fs::path> links = std::exchange(linked_, {});
      std::sort(links.begin(), links.end());
      for (const fs::path& link : links) enter(link);
    }
  }

  std::vector<std::string> claimed;  ///< by a format
  std::vector<std::string> others;
  std::string last_unreadable;
  int64_t skipped = 0;

 private:
  void enter(const fs::path& folder) {
    std::error_code error;
    if (!entered_.insert(fs::canonical(folder, error)).second) {
      ++skipped;
      return;
    }
    if (const std::string format = written_format(folder.string()); !format.empty())
      fail_usage(folder.string(), "holds " + format + " and no text", "name files or folders with text");
    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      entries.push_back(*entry);
    if (error) leave_out(folder, error.message());
    for (const fs::directory_entry& entry : entries) take(entry);
  }

  void take(const fs::directory_entry& entry) {
    std::error_code error;
    const bool is_hidden = entry.path().filename().string().starts_with(".");
    if (entry.is_directory(error)) {
      if (is_hidden) return;
      if (entry.is_symlink(error))
        linked_.push_back(entry.path());
      else
        enter(entry.path());
    } else if (is_hidden || !entry.is_regular_file(error)) {
      ++skipped;
    } else if (::access(entry.path().c_str(), R_OK) != 0) {
      leave_out(entry.path(), std::strerror(errno));
    } else {
      (documents_by_name(entry.path().native()) != nullptr ? claimed : others).push_back(entry.path());
    }
  }

  void leave_out(const fs::path& path, const std::string& reason) {
    ++skipped;
    last_unreadable = path.string() + ": cannot be read (" + reason + ")";
    fmt::print(stderr, "gca: warning: {}, left out\n", last_unreadable);
  }

  std::set<fs::path> entered_;
  std::vector<fs::path> linked_;
};

void list_folder(const std::string& folder, size_t input, InputFiles& result) {
  FolderSearch search;
  search.search(folder);
  if (search.claimed.empty()) std::swap(search.claimed, search.others);
  if (search.claimed.empty())
    fail_usage(folder, search.last_unreadable.empty() ? "holds no files" : "holds no files that can be read",
               "name files or folders with text");
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
