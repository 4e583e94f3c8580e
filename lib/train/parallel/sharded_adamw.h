#pragma once
// AdamW whose state is shared out (ZeRO-1, Rajbhandari et al., arXiv 1910.02054): a rank keeps the moments of its slices
// (bucket_layout.h), updates those, and sends the updated weights to the others.
//
//   a rank sends in a step, M weights of 4 bytes, N ranks:  (N-1)/N 4 M of gradients + (N-1)/N 4 M of weights
//   a rank keeps                                            8 M / N of moments

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/adamw/adamw.h"
#include "lib/parallel/communicator.h"
#include "lib/train/parallel/bucket_layout.h"
#include "lib/train/parallel/gradient_buckets.h"
#include "lib/train/settings/train_config.h"
#include "lib/train/step/optimizer.h"

namespace gca::train {

class ShardedAdamW : public Optimizer {
 public:
  /// Borrows `model` and `communicator`.
  ShardedAdamW(model::LanguageModel& model, const TrainConfig& config, parallel::Communicator& communicator,
               int64_t bucket_bytes = BucketLayout::kBucketBytes);

  void begin_last_backward() override;
  double gradient_norm() override;
  void update(int64_t step, double learning_rate, double gradient_scale) override;
  void reset() override;
  at::Tensor moment(Moment moment, size_t weight) const override;
  void set_moment(Moment moment, size_t weight, const at::Tensor& whole) override;
  int64_t moment_bytes() const override;

  const BucketLayout& layout() const { return layout_; }
  /// The sum over ranks of the gradient of a weight, whole, on every rank; undefined where no rank has one. Between
  /// gradient_norm() and update(). For tests.
  at::Tensor summed_gradient(size_t weight) const;

 private:
  struct Sent {
    at::Tensor values;  // (N, slice_size)
    parallel::Exchange exchange;
  };

  const std::vector<at::Tensor>& moments(Moment moment) const {
    return moment == Moment::first ? first_moments_ : second_moments_;
  }
  /// The values of weight number `weight` from slices shared out like the moments, on the ranks that ask for it.
  at::Tensor gather_weight(const std::vector<at::Tensor>& slices, size_t weight, bool on_all_ranks,
                           const std::string& what) const;
  void update_slice(size_t bucket, const kernels::AdamWSettings& settings, double learning_rate);
  Sent send_weights(size_t bucket);
  void take_weights(size_t bucket, Sent& sent);

  model::LanguageModel& model_;
  TrainConfig config_;
  parallel::Communicator& communicator_;
  BucketLayout layout_;
  GradientBuckets gradients_;
  std::vector<bool> has_gradient_;         // by weight: on any rank
  std::vector<at::Tensor> first_moments_;  // by bucket: of the own slice
  std::vector<at::Tensor> second_moments_;
};

}  // namespace gca::train
