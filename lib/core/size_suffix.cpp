#include "lib/core/size_suffix.h"

#include <charconv>

#include "lib/core/error.h"

namespace gca {
namespace {

/// Power of two that a suffix stands for; -1: no suffix of ours.
int suffix_shift(char suffix) {
  switch (suffix) {
    case 'K':
    case 'k':
      return 10;
    case 'M':
    case 'm':
      return 20;
    case 'G':
    case 'g':
      return 30;
    case 'T':
    case 't':
      return 40;
    default:
      return -1;
  }
}

}  // namespace

std::optional<int64_t> try_parse_size(std::string_view text) {
  int shift = 0;
  if (!text.empty() && suffix_shift(text.back()) >= 0) {
    shift = suffix_shift(text.back());
    text.remove_suffix(1);
  }
  int64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || rest != end || count < 0) return std::nullopt;
  if (count > (INT64_MAX >> shift)) return std::nullopt;
  return count << shift;
}

int64_t parse_size(const std::string& where, std::string_view text) {
  if (const auto size = try_parse_size(text)) return *size;
  fail_usage(where, "'" + std::string(text) + "' is not a size",
             "write a whole number such as 4096, 16K or 1M (K = 1024)");
}

std::vector<int64_t> parse_size_list(const std::string& where, std::string_view text) {
  std::vector<int64_t> sizes;
  for (;;) {
    const size_t comma = text.find(',');
    sizes.push_back(parse_size(where, text.substr(0, comma)));
    if (comma == std::string_view::npos) return sizes;
    text.remove_prefix(comma + 1);
  }
}

std::string size_text(int64_t size) {
  constexpr std::string_view kSuffixes = "KMGT";
  std::string suffix;
  for (size_t i = 0; i < kSuffixes.size() && size != 0 && size % 1024 == 0; ++i) {
    size /= 1024;
    suffix = kSuffixes[i];
  }
  return std::to_string(size) + suffix;
}

}  // namespace gca
