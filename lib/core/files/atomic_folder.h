#pragma once
// Folders that are either the old or the new, never half.

#include <functional>
#include <string>

namespace gca {

/// Fills a folder aside (`fill` gets its temporary path) and puts it in the place of `path`, locked meanwhile
/// (folder_lock.h), as folder_exchange.h says; the old one is removed afterwards, with everything in it: callers
/// make sure that `path` is a folder of their own. Throws what `fill` throws and Error(failed); the old version
/// then stays.
void replace_folder_atomically(const std::string& path, const std::function<void(const std::string&)>& fill);

}  // namespace gca
