#pragma once
// The steps of which files and folders are written so that they survive: temporary names, flushing, renaming.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace gca {

/// Throws Error(failed) "`path`: cannot `deed`: ..." with the text of the errno value `error`.
[[noreturn]] void fail_system(const std::string& path, const std::string& deed, int error);

/// Does this errno value say that a path can never be written as it was given (no permission, read-only file
/// system, no such folder)? Others are failures of the moment: a full or broken disk.
bool is_unwritable(int error);

/// What a symbolic link leads to, so that replacing it keeps the link; other paths as they are.
std::string follow_links(const std::string& path);

/// "." for a name without a folder.
std::string parent_of(const std::string& path);

/// Unique in this process: "`path`.tmp-<pid>-<number>".
std::string temporary_name(const std::string& path);
/// Is `name` such a name for the entry `target` of the same folder? Whether its owner still lives, a lock says.
bool is_temporary_name(std::string_view name, const std::string& target);

/// The entries of `folder` that bear such names for its entry `target`.
std::vector<std::filesystem::path> temporaries_of(const std::string& folder, const std::string& target);

/// Makes a file's content or a folder's list of names durable.
void flush_to_disk(const std::string& path);

void rename_or_fail(const std::string& from, const std::string& to);

}  // namespace gca
