#include "lib/data/sequence_blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace gca::data {
namespace {

constexpr int kPartBits = 32;

/// round(count * part / 2^32): it grows by 0 or 1 as `count` grows by 1.
int64_t part_of(int64_t count, uint64_t part) {
  __extension__ using Wide = unsigned __int128;
  const Wide half = Wide{1} << (kPartBits - 1);
  return static_cast<int64_t>((static_cast<Wide>(count) * part + half) >> kPartBits);
}

}  // namespace

Batch stack_batches(std::span<const Batch> batches) {
  Batch stacked;
  for (const Batch& one : batches) {
    stacked.rows += one.rows;
    stacked.length = std::max(stacked.length, one.length);
    stacked.text_tokens += one.text_tokens;
    stacked.target_count += one.target_count;
    stacked.target_bytes += one.target_bytes;
    stacked.chunks = std::max(stacked.chunks, one.chunks);
    stacked.vector_size = std::max(stacked.vector_size, one.vector_size);
  }
  stacked.ids.assign(static_cast<size_t>(stacked.rows * stacked.length), 0);
  stacked.targets.assign(static_cast<size_t>(stacked.rows * stacked.length), kNoTarget);
  const int64_t e = stacked.vector_size;
  stacked.chunk_vectors.assign(static_cast<size_t>(stacked.rows * stacked.chunks * e), 0.0F);
  int64_t row = 0;
  for (const Batch& one : batches)
    for (int64_t i = 0; i < one.rows; ++i, ++row) {
      const auto copy_row = [&](const auto& from, int64_t length, auto& to, int64_t longest) {
        std::copy_n(from.begin() + i * length, length, to.begin() + row * longest);
      };
      copy_row(one.ids, one.length, stacked.ids, stacked.length);
      copy_row(one.targets, one.length, stacked.targets, stacked.length);
      copy_row(one.chunk_vectors, one.chunks * e, stacked.chunk_vectors, stacked.chunks * e);
    }
  return stacked;
}

BlendOrder::BlendOrder(std::span<const double> shares) {
  double left = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (size_t i = 0; i + 1 < shares.size(); ++i) {
    parts_.push_back(static_cast<uint64_t>(std::llround(std::ldexp(shares[i] / left, kPartBits))));
    left -= shares[i];
  }
  parts_.push_back(uint64_t{1} << kPartBits);
}

std::vector<int64_t> BlendOrder::counts(int64_t consumed) const {
  std::vector<int64_t> counts;
  for (const uint64_t part : parts_) {
    counts.push_back(part_of(consumed, part));
    consumed -= counts.back();
  }
  return counts;
}

std::string BlendOrder::text() const {
  std::string text;
  for (const uint64_t part : parts_) text += std::to_string(part) + " ";
  return text;
}

Batch SequenceBlend::batch(int64_t consumed, int64_t rows) const {
  if (loaders_.size() == 1) return loaders_.front().batch(consumed, rows);
  std::vector<Batch> single;
  std::vector<int64_t> before = order_.counts(consumed);
  for (int64_t i = consumed; i < consumed + rows; ++i) {
    std::vector<int64_t> after = order_.counts(i + 1);
    for (size_t set = 0; set < loaders_.size(); ++set)
      if (after[set] > before[set]) single.push_back(loaders_[set].batch(before[set], 1));
    before = std::move(after);
  }
  return stack_batches(single);
}

}  // namespace gca::data
