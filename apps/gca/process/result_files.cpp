#include "apps/gca/process/result_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string_view>

#include "apps/gca/process/standard_output.h"
#include "lib/core/error.h"
#include "lib/core/files/atomic_file.h"

namespace gca::app {

void require_writable_file(const std::string& flag, const std::string& path) {
  struct stat status;
  // Opening and closing a pipe would end what its reader reads.
  const bool is_special =
      stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  if (is_special && access(path.c_str(), W_OK) == 0) return;
  try {
    const AtomicFile tried(path);
  } catch (const Error& error) {
    fail_usage(flag + " " + path, "cannot be written (" + std::string(error.what()) + ")",
               "name a file in a folder that exists and can be written");
  }
}

void require_free_memory_place(const std::string& memory) {
  constexpr std::string_view kFile = "file:";
  std::error_code ignored;
  if (!memory.starts_with(kFile)) return;
  const std::string path = memory.substr(kFile.size());
  if (std::filesystem::exists(path, ignored))
    fail_usage("--memory " + memory, "exists", "name a file that does not exist; it is removed at the end");
  if (!path.empty()) require_writable_file("--memory", path);
}

void finish_report_with_files(const JsonReport& report, const CommonOptions& options,
                              const std::string& output_folder, const std::string& table,
                              const std::vector<ResultFile>& files) {
  std::optional<Error> failure;
  const auto write = [&](const std::string& path, const std::string& content) {
    try {
      write_file_atomically(path, content);
    } catch (const Error& error) {
      if (!failure) failure = error;
    }
  };
  for (const ResultFile& file : files) write(file.path, file.content);
  if (!options.report_path.empty())
    write(options.report_path, report.text());
  else if (!output_folder.empty())
    write(output_folder + "/report.json", report.text());
  try {
    if (options.json)
      write_output(report.text());
    else if (!options.quiet)
      write_output(table);
    flush_output();
  } catch (const ClosedPipe&) {
    if (!failure) throw;
  }
  if (failure) throw *failure;
}

}  // namespace gca::app
