#pragma once
// The files that a command writes beside its output: tried before the work, and no reason to lose the table.

#include <string>
#include <vector>

#include "apps/gca/options/common_options.h"

namespace gca::app {

/// Throws Error(usage) naming `flag` where the file `path` cannot be written. Nothing of it stays.
void require_writable_file(const std::string& flag, const std::string& path);
/// The same for a value of --memory, and for a file that is there already.
void require_free_memory_place(const std::string& memory);

struct ResultFile {
  std::string path;
  std::string content;
};

/// finish_report() that writes `files` as well. What cannot be written is an error after everything else is
/// written and printed.
void finish_report_with_files(const JsonReport& report, const CommonOptions& options,
                              const std::string& output_folder, const std::string& table,
                              const std::vector<ResultFile>& files);

}  // namespace gca::app
