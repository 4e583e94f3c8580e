#include "lib/data/haystack.h"

#include <algorithm>
#include <set>
#include <utility>

#include "lib/core/error.h"

namespace gca::data {

void Haystack::add(int64_t tokens, std::function<void(int64_t, std::span<int32_t>)> read) {
  if (tokens == 0) return;
  pieces_.push_back({token_count_, tokens, std::move(read)});
  token_count_ += tokens;
}

Haystack Haystack::of(const TokenStore& tokens) {
  Haystack haystack;
  for (size_t i = 0; i < tokens.documents().size(); ++i)
    haystack.add(tokens.documents()[i].tokens,
                 [tokens, number = static_cast<int64_t>(i)](int64_t first, std::span<int32_t> out) {
                   tokens.read(number, first, out);
                 });
  if (haystack.token_count_ == 0) fail_usage(tokens.folder(), "holds no token", "tokenize some text");
  return haystack;
}

Haystack Haystack::of(const SequenceIndex& index, std::span<const SequenceEntry> split) {
  // The documents that sequences begin in: all of the split, but for those too short to give one, and for
  // joined documents the first of each sequence.
  std::set<int64_t> numbers;
  for (const SequenceEntry& entry : split) numbers.insert(entry.document);
  Haystack haystack;
  const TokenStore& tokens = index.tokens();
  for (const int64_t number : numbers)
    haystack.add(
        tokens.documents()[static_cast<size_t>(number)].tokens,
        [tokens, number](int64_t first, std::span<int32_t> out) { tokens.read(number, first, out); });
  if (haystack.token_count_ == 0) fail_usage(tokens.folder(), "has no document in this split", "add text");
  return haystack;
}

Haystack Haystack::of(std::vector<int32_t> tokens, const std::string& where) {
  Haystack haystack;
  const auto held = std::make_shared<const std::vector<int32_t>>(std::move(tokens));
  haystack.add(static_cast<int64_t>(held->size()), [held](int64_t first, std::span<int32_t> out) {
    std::copy_n(held->begin() + first, out.size(), out.begin());
  });
  if (haystack.token_count_ == 0) fail_usage(where, "holds no token", "give some text");
  return haystack;
}

void Haystack::read(int64_t first, std::span<int32_t> out) const {
  first %= token_count_;
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), first,
                                [](int64_t number, const Piece& one) { return number < one.first; }) -
               1;
  while (!out.empty()) {
    const int64_t offset = first - piece->first;
    const auto count = std::min(out.size(), static_cast<size_t>(piece->tokens - offset));
    piece->read(offset, out.first(count));
    out = out.subspan(count);
    first = (piece->first + piece->tokens) % token_count_;
    if (++piece == pieces_.end()) piece = pieces_.begin();
  }
}

}  // namespace gca::data
