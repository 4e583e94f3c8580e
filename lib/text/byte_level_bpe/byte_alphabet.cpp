#include "lib/text/byte_level_bpe/byte_alphabet.h"

#include <cstddef>
#include <cstdint>

#include "lib/core/utf8.h"

namespace gca::text {
namespace {

bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// Code points of the alphabet are below U+0144.
constexpr size_t kCodePoints = 0x144;

std::string to_utf8(unsigned code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::array<unsigned, 256> code_points_of_bytes() {
  std::array<unsigned, 256> code_points;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) code_points[byte] = stands_for_itself(byte) ? byte : next++;
  return code_points;
}

/// -1 for a code point that is not of the alphabet.
std::array<int16_t, kCodePoints> bytes_of_code_points() {
  std::array<int16_t, kCodePoints> bytes;
  bytes.fill(-1);
  const auto code_points = code_points_of_bytes();
  for (size_t byte = 0; byte < 256; ++byte) bytes[code_points[byte]] = static_cast<int16_t>(byte);
  return bytes;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> all;
    const auto code_points = code_points_of_bytes();
    for (size_t byte = 0; byte < 256; ++byte) all[byte] = to_utf8(code_points[byte]);
    return all;
  }();
  return characters;
}

std::optional<std::string> bytes_of_token(std::string_view token) {
  static const auto bytes_of = bytes_of_code_points();
  std::string bytes;
  while (!token.empty()) {
    const size_t length = first_utf8_sequence(token).length;
    if (length != 1 && length != 2) return std::nullopt;
    const auto first = static_cast<unsigned char>(token[0]);
    const size_t code_point =
        length == 1 ? first : (first & 0x1FU) << 6 | (static_cast<unsigned char>(token[1]) & 0x3FU);
    if (code_point >= kCodePoints || bytes_of[code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(bytes_of[code_point]);
    token.remove_prefix(length);
  }
  return bytes;
}

}  // namespace gca::text
