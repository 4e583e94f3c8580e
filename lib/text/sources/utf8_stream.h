#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lib/text/sources/byte_stream.h"

namespace gca::text {

/// The same bytes as long as they are valid UTF-8. Each maximal invalid subpart becomes U+FFFD and is counted
/// in `replaced_sequences`; with nullptr it is an Error(usage) that names the line.
std::unique_ptr<ByteStream> make_utf8_stream(std::unique_ptr<ByteStream> stream, int64_t* replaced_sequences);

/// "holds the byte 0xE9, which is not valid UTF-8": what stands at the front of `text`.
std::string invalid_utf8_message(std::string_view text);

/// What is to be done about it.
inline constexpr const char* kInvalidUtf8Remedy =
    "convert the file (iconv -f ENCODING -t UTF-8), or give --invalid-utf8 replace";

}  // namespace gca::text
