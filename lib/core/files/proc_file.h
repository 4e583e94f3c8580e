#pragma once
// Fields of the files under /proc that describe processor, memory and process.

#include <string>

namespace gca {

/// What follows the colon of the first line of `path` that begins with `name`; empty when there is none.
std::string field_of_proc_file(const std::string& path, const std::string& name);

}  // namespace gca
