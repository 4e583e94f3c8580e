#pragma once
// The gradients of all ranks, summed slice by slice while backward still runs: as soon as every gradient of a bucket is
// there, its slices leave for the ranks that own them, in the order of the buckets on every rank.

#include <ATen/core/Tensor.h>

#include <vector>

#include "lib/model/language_model.h"
#include "lib/parallel/communicator.h"
#include "lib/train/parallel/bucket_layout.h"

namespace gca::train {

class GradientBuckets {
 public:
  /// Borrows all three.
  GradientBuckets(std::vector<model::Weight>& weights, const BucketLayout& layout,
                  parallel::Communicator& communicator);
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  /// The next backward pass is the last of the step: from now on a gradient that appears is final. For backward passes
  /// that give each weight its gradient at once, which nested ones (lib/model/layers/recompute.h) do not.
  void begin_overlap() { overlaps_ = true; }
  /// Sends what has not left yet and waits for the sums. The masters' gradients are gone. A weight without a gradient counts
  /// as zeros.
  void finish();

  /// After finish(), until clear(): the sum over ranks of the own slice of each bucket, (slice_size).
  const std::vector<at::Tensor>& sums() const { return sums_; }
  /// Did the weight have a gradient on this rank?
  bool has_gradient(size_t weight) const { return has_gradient_[weight]; }
  /// For the next step.
  void clear();

 private:
  struct Hook;
  struct Sent {
    at::Tensor values;  // (N slice_size), the own gradients
    std::vector<at::Tensor> received;
    parallel::Exchange exchange;
  };

  void take_gradient(size_t weight);
  void send_next();
  void sum_next();

  std::vector<model::Weight>& weights_;
  const BucketLayout& layout_;
  parallel::Communicator& communicator_;
  bool overlaps_ = false;
  std::vector<bool> has_gradient_;
  std::vector<bool> is_final_;    // by weight
  std::vector<int64_t> missing_;  // by bucket: weights whose gradient is not final
  std::vector<Sent> sent_;        // by bucket
  std::vector<at::Tensor> sums_;  // by bucket
};

}  // namespace gca::train
