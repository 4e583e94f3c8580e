#pragma once
// The characters that stand for bytes in the token strings of byte-level BPE (GPT-2's table): printable ones
// of Latin-1 for themselves, the others from U+0100 on in order.

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace gca::text {

/// UTF-8 of the character of each byte.
const std::array<std::string, 256>& byte_characters();

/// The bytes that a token string stands for; nothing where it holds another character.
std::optional<std::string> bytes_of_token(std::string_view token);

}  // namespace gca::text
