#pragma once
// The merges of byte-pair encoding: which neighbours become one token, and in which order.

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace gca::text {

class MergeTable {
 public:
  /// Merges of a lower rank come first. A pair that was added before is replaced.
  void add(int32_t left, int32_t right, int32_t rank, int32_t merged);

  /// Merges neighbours of `ids` until no pair is in the table: the pair of the lowest rank first, the
  /// leftmost of equals. O(n log n).
  void merge(std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t merged = 0;
  };
  struct Hash {
    size_t operator()(uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15ULL) >> 20; }
  };
  const Merge* find(int32_t left, int32_t right) const;
  void merge_short(std::vector<int32_t>& ids) const;
  void merge_long(std::vector<int32_t>& ids) const;

  std::unordered_map<uint64_t, Merge, Hash> merges_;
};

}  // namespace gca::text
