#include "lib/model/kv_cache/best_rows.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace gca::model {
namespace {

/// Rises with the score, then with the row.
uint64_t rank_of(float score, int64_t row) {
  constexpr uint32_t kSign = 0x80000000U;
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);  // no negative zero
  const uint32_t ordered = (bits & kSign) != 0 ? ~bits : bits | kSign;
  return uint64_t{ordered} << 32 | static_cast<uint32_t>(row);
}

}  // namespace

std::vector<int64_t> best_rows(const float* score, int64_t count, int64_t kept) {
  std::vector<uint64_t> rank(static_cast<size_t>(count));
  for (int64_t row = 0; row < count; ++row) rank[static_cast<size_t>(row)] = rank_of(score[row], row);
  const auto end = rank.begin() + kept;
  if (end != rank.end()) std::nth_element(rank.begin(), end, rank.end(), std::greater<>());
  std::sort(rank.begin(), end, std::greater<>());
  std::vector<int64_t> rows;
  for (auto one = rank.begin(); one != end; ++one) rows.push_back(static_cast<int64_t>(*one & 0xFFFFFFFFU));
  return rows;
}

}  // namespace gca::model
