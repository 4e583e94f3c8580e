#pragma once
// Text without end to hide things in: documents one after the other, and again from the first.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/data/sequence_index.h"
#include "lib/data/token_shard.h"

namespace gca::data {

/// Read-only; cheap to copy.
class Haystack {
 public:
  /// Every document of a shard folder.
  static Haystack of(const TokenStore& tokens);
  /// The documents of a split, whole. Throws Error(usage) when it has none.
  static Haystack of(const SequenceIndex& index, std::span<const SequenceEntry> split);
  /// Throws Error(usage) naming `where` when there is no token.
  static Haystack of(std::vector<int32_t> tokens, const std::string& where);

  /// Tokens before it begins again.
  int64_t token_count() const { return token_count_; }
  /// Copies out.size() tokens from number `first` >= 0 on.
  void read(int64_t first, std::span<int32_t> out) const;

 private:
  struct Piece {
    int64_t first = 0;  ///< number of its first token
    int64_t tokens = 0;
    std::function<void(int64_t first, std::span<int32_t> out)> read;
  };
  void add(int64_t tokens, std::function<void(int64_t, std::span<int32_t>)> read);

  std::vector<Piece> pieces_;
  int64_t token_count_ = 0;
};

}  // namespace gca::data
