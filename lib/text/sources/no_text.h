#pragma once
// What is no text and must not be read as such; files of known formats are found by unsupported_format() of
// formats.h.

#include <string>
#include <string_view>

namespace gca::text {

/// Whether the first bytes of a file are those of no text in any encoding: control characters make up a tenth
/// of them, or stand beside bytes that are no UTF-8.
bool is_binary(std::string_view head);

/// What a folder is that gca wrote: "gca.tokens/1", "a training run", "a checkpoint". Else empty.
std::string written_format(const std::string& folder);

}  // namespace gca::text
