#pragma once
// How a new version of a folder takes the place of the old one: exchanged, renamed, or file by file. The caller
// is the only writer (folder_lock.h).

#include <string>

namespace gca {

/// Makes all that is in a folder durable.
void flush_tree_to_disk(const std::string& folder);

/// Puts folder `fresh` in the place of `path`; afterwards the old one, if any, bears the name that is returned.
/// Where the system cannot exchange folders there is no folder for an instant, but a complete one beside it.
/// Throws Error(failed); the old version is then in place.
std::string exchange_folders(const std::string& fresh, const std::string& path);

/// Gives `folder`, which stays the folder it is, the files of `fresh`, a folder beside it or in it. Throws
/// Error(failed); finish_exchange() then completes it.
void exchange_files(const std::string& fresh, const std::string& folder);

/// Completes an exchange_files() of a process that was killed; does nothing where there was none.
void finish_exchange(const std::string& folder);

}  // namespace gca
