#include "lib/train/parallel/bucket_layout.h"

#include <algorithm>

namespace gca::train {
namespace {

int64_t round_up(int64_t number, int64_t multiple) {
  return (number + multiple - 1) / multiple * multiple;
}

}  // namespace

BucketLayout::BucketLayout(const std::vector<model::Weight>& weights, int ranks, int64_t bucket_bytes)
    : ranks_(ranks), buckets_of_(weights.size()) {
  if (weights.empty()) return;
  const int64_t largest = bucket_bytes / static_cast<int64_t>(weights.front().master.element_size());
  int64_t left = 0;
  for (const model::Weight& weight : weights) left += weight.master.numel();

  size_t weight = weights.size() - 1;
  int64_t in_weight = 0;
  while (left > 0) {
    const int64_t size = std::min(left, largest);
    Bucket bucket;
    bucket.slice_size = round_up((size + ranks - 1) / ranks, kSliceMultiple);
    bucket.slices.resize(static_cast<size_t>(ranks));
    for (int64_t in_bucket = 0; in_bucket < size;) {
      const int64_t weight_size = weights[weight].master.numel();
      const int64_t slice = in_bucket / bucket.slice_size;
      const int64_t slice_end = std::min(size, (slice + 1) * bucket.slice_size);
      const WeightPiece piece{weight, in_weight, in_bucket,
                              std::min(weight_size - in_weight, slice_end - in_bucket)};
      bucket.slices[static_cast<size_t>(slice)].push_back(piece);
      auto& [first, last] = buckets_of_[weight];
      if (in_weight == 0) first = buckets_.size();
      last = buckets_.size();
      in_bucket += piece.size;
      in_weight += piece.size;
      if (in_weight < weight_size) continue;
      in_weight = 0;
      if (weight > 0) --weight;
    }
    buckets_.push_back(std::move(bucket));
    left -= size;
  }
}

int64_t BucketLayout::share_size() const {
  int64_t size = 0;
  for (const Bucket& bucket : buckets_) size += bucket.slice_size;
  return size;
}

}  // namespace gca::train
