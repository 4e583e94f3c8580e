#pragma once
// Numbers of things, as sentences need them.

#include <cstdint>
#include <string>

namespace gca {

/// "1 document", "3 documents": `noun` in the singular, with an s where there is not one.
inline std::string counted(int64_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace gca
