#include "lib/text/byte_level_bpe/added_tokens.h"

#include <algorithm>

namespace gca::text {

AddedTokens::AddedTokens(std::vector<std::pair<std::string, int32_t>> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end());
  for (const auto& [text, id] : tokens_) {
    is_first_byte_[static_cast<unsigned char>(text.front())] = true;
    longest_ = std::max(longest_, text.size());
  }
}

/// Narrows the sorted list down to the tokens that begin as the text does, byte by byte.
AddedTokens::Prefix AddedTokens::match_front(std::string_view text) const {
  Prefix prefix;
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (size_t depth = 0;; ++depth) {
    if (first != last && first->first.size() == depth) {
      prefix.id = first->second;
      prefix.length = depth;
      ++first;
    }
    if (first == last) return prefix;
    if (depth == text.size()) {
      prefix.may_grow = true;
      return prefix;
    }
    const auto byte_at = [depth](const auto& token) {
      return static_cast<unsigned char>(token.first[depth]);
    };
    const auto wanted = static_cast<unsigned char>(text[depth]);
    first = std::partition_point(first, last, [&](const auto& token) { return byte_at(token) < wanted; });
    last = std::partition_point(first, last, [&](const auto& token) { return byte_at(token) == wanted; });
  }
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from) const {
  if (tokens_.empty()) return {};
  for (size_t at = from; at < text.size(); ++at) {
    if (!is_first_byte_[static_cast<unsigned char>(text[at])]) continue;
    const Prefix prefix = match_front(text.substr(at));
    if (prefix.id >= 0) return {prefix.id, at, at + prefix.length};
  }
  return {};
}

size_t AddedTokens::open_tail(std::string_view text) const {
  for (size_t at = text.size() - std::min(text.size(), longest_); at < text.size(); ++at)
    if (is_first_byte_[static_cast<unsigned char>(text[at])] && match_front(text.substr(at)).may_grow)
      return at;
  return text.size();
}

}  // namespace gca::text
