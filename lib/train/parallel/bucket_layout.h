#pragma once
// How the weights of a model are laid out for exchange between ranks: as one flat vector, in reverse order (that in which
// backward makes their gradients), cut into buckets; each bucket cut into one slice per rank.
//
//   weights, last to first   | w_n              | w_n-1 | ...                | w_0 |
//   buckets                  | 0          | 1          | 2          | ...          |   the same for any number of ranks
//   slices, 2 ranks          | 0   | 1    | 0   | 1    | 0   | 1    |              |   rank r owns slice r of each
//
// The state of a rank is even whatever the sizes of the weights, and every bucket has work for all ranks.

#include <cstdint>
#include <vector>

#include "lib/model/language_model.h"

namespace gca::train {

/// A run of values that lies within one weight and one slice.
struct WeightPiece {
  size_t weight = 0;      ///< number of the weight
  int64_t in_weight = 0;  ///< first value, of the flat weight
  int64_t in_bucket = 0;  ///< first value, of its bucket
  int64_t size = 0;       ///< values
};

struct Bucket {
  int64_t slice_size = 0;  ///< values, a multiple of kSliceMultiple; the last slice is padded with zeros
  /// By rank that owns the slice, in the order of the bucket.
  std::vector<std::vector<WeightPiece>> slices;
};

class BucketLayout {
 public:
  static constexpr int64_t kBucketBytes = int64_t{4} << 20;
  static constexpr int64_t kSliceMultiple = 16;

  BucketLayout(const std::vector<model::Weight>& weights, int ranks, int64_t bucket_bytes = kBucketBytes);

  const std::vector<Bucket>& buckets() const { return buckets_; }
  int ranks() const { return ranks_; }
  /// The numbers of the buckets that hold a part of that weight, first and last.
  std::pair<size_t, size_t> buckets_of(size_t weight) const { return buckets_of_[weight]; }
  /// Values of the slices of one rank, padding included; the same for each rank.
  int64_t share_size() const;

 private:
  int ranks_;
  std::vector<Bucket> buckets_;
  std::vector<std::pair<size_t, size_t>> buckets_of_;
};

}  // namespace gca::train
