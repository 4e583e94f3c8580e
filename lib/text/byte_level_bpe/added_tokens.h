#pragma once
// Tokens that are cut out of a text before anything else is done to it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gca::text {

class AddedTokens {
 public:
  AddedTokens() = default;
  /// Texts, none of them empty, and their ids.
  explicit AddedTokens(std::vector<std::pair<std::string, int32_t>> tokens);

  struct Match {
    int32_t id = -1;  ///< -1: there is none
    size_t begin = 0;
    size_t end = 0;
  };
  /// The first token in `text` that begins at `from` or later; of several at one place the longest.
  Match find(std::string_view text, size_t from) const;

  /// Where a token may begin that what follows `text` completes; text.size() where none can.
  size_t open_tail(std::string_view text) const;

 private:
  struct Prefix {
    int32_t id = -1;        ///< of the longest token at the front; -1: none
    size_t length = 0;      ///< its
    bool may_grow = false;  ///< the text ended within a token
  };
  Prefix match_front(std::string_view text) const;

  std::vector<std::pair<std::string, int32_t>> tokens_;  ///< sorted
  std::array<bool, 256> is_first_byte_ = {};
  size_t longest_ = 0;
};

}  // namespace gca::text
