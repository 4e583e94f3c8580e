#pragma once
// Sizes as people write them: 4096, 16K, 1M (K = 1024).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gca {

/// A whole number that is not negative, with an optional K, M, G or T (powers of 1024, either case); nothing
/// when `text` is anything else or too large for int64_t.
std::optional<int64_t> try_parse_size(std::string_view text);

/// Same; Error(usage) naming `where` (a flag) otherwise.
int64_t parse_size(const std::string& where, std::string_view text);

/// "1K,4K,16K": at least one size.
std::vector<int64_t> parse_size_list(const std::string& where, std::string_view text);

/// The shortest way to write a size: 4K for 4096, 126 for 126.
std::string size_text(int64_t size);

}  // namespace gca
