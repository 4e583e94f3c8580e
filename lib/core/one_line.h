#pragma once
// Text of any bytes, made fit for one line of a terminal.

#include <cstdint>
#include <string>
#include <string_view>

namespace gca {

/// `text` on one line: control characters as \n, \t, \xNN, invalid UTF-8 as \xNN; at most `width` characters,
/// the rest shown as "...".
std::string one_line(std::string_view text, int64_t width);

}  // namespace gca
