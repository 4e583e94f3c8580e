#include "lib/text/byte_level_bpe/merge_table.h"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>
#include <tuple>

namespace gca::text {
namespace {

/// Up to here looking through all ranks after each merge is faster than a queue.
constexpr size_t kMostShortTokens = 48;
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

uint64_t key_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void MergeTable::add(int32_t left, int32_t right, int32_t rank, int32_t merged) {
  merges_[key_of(left, right)] = {rank, merged};
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const auto found = merges_.find(key_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void MergeTable::merge(std::vector<int32_t>& ids) const {
  if (ids.size() <= kMostShortTokens)
    merge_short(ids);
  else
    merge_long(ids);
}

void MergeTable::merge_short(std::vector<int32_t>& ids) const {
  size_t count = ids.size();
  if (count < 2) return;
  std::array<Merge, kMostShortTokens> merges;  // of each token with its right neighbour
  const auto look_up = [&](size_t at) {
    const Merge* merge = find(ids[at], ids[at + 1]);
    merges[at] = merge == nullptr ? Merge{kNoRank, 0} : *merge;
  };
  for (size_t at = 0; at + 1 < count; ++at) look_up(at);
  while (count > 1) {
    size_t best = 0;
    for (size_t at = 1; at + 1 < count; ++at)
      if (merges[at].rank < merges[best].rank) best = at;
    if (merges[best].rank == kNoRank) break;
    ids[best] = merges[best].merged;
    for (size_t at = best + 1; at + 1 < count; ++at) {
      ids[at] = ids[at + 1];
      merges[at] = merges[at + 1];
    }
    --count;
    if (best + 1 < count) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.resize(count);
}

void MergeTable::merge_long(std::vector<int32_t>& ids) const {
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Token {
    int32_t id;  // -1 once it is part of its left neighbour
    uint32_t left, right;
  };
  struct Candidate {
    int32_t rank;
    uint32_t at;  // of the left token
    int32_t left_id, right_id;
    int32_t merged;
    bool operator>(const Candidate& other) const {
      return std::tie(rank, at) > std::tie(other.rank, other.at);
    }
  };
  std::vector<Token> tokens;
  tokens.reserve(ids.size());
  for (uint32_t at = 0; at < ids.size(); ++at)
    tokens.push_back({ids[at], at == 0 ? kNone : at - 1, at + 1 == ids.size() ? kNone : at + 1});
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto look_up = [&](uint32_t at) {
    if (at == kNone || tokens[at].right == kNone) return;
    const int32_t left = tokens[at].id;
    const int32_t right = tokens[tokens[at].right].id;
    if (const Merge* merge = find(left, right)) queue.push({merge->rank, at, left, right, merge->merged});
  };
  for (uint32_t at = 0; at < tokens.size(); ++at) look_up(at);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Token& token = tokens[best.at];
    // Since it was queued, either token may have been merged with another.
    if (token.id != best.left_id || token.right == kNone || tokens[token.right].id != best.right_id) continue;
    token.id = best.merged;
    tokens[token.right].id = -1;
    token.right = tokens[token.right].right;
    if (token.right != kNone) tokens[token.right].left = best.at;
    look_up(token.left);
    look_up(best.at);
  }
  ids.clear();
  for (const Token& token : tokens)
    if (token.id >= 0) ids.push_back(token.id);
}

}  // namespace gca::text
