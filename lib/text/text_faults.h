#pragma once

#include <cstdint>

namespace gca::text {

/// What had to be worked around in a text; reported, never fatal.
struct TextFaults {
  int64_t nul_bytes = 0;           ///< '\0', kept as a byte
  int64_t invalid_utf8_bytes = 0;  ///< bytes outside any valid UTF-8 sequence, kept as bytes
  int64_t unknown_tokens = 0;      ///< lost: only with a tokenizer that is not lossless
  TextFaults& operator+=(const TextFaults& other) {
    nul_bytes += other.nul_bytes;
    invalid_utf8_bytes += other.invalid_utf8_bytes;
    unknown_tokens += other.unknown_tokens;
    return *this;
  }
};

}  // namespace gca::text
