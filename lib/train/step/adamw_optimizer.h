#pragma once
// AdamW over the masters of a model. Owns the two moments of every weight; the arithmetic is kernels/adamw.

#include <ATen/core/Tensor.h>

#include <vector>

#include "lib/model/language_model.h"
#include "lib/train/settings/train_config.h"

namespace gca::train {

/// Factor on the learning rate of the weight `name`, by the part of the model it belongs to.
double learning_rate_factor(const TrainConfig& config, model::WeightGroup group);

class AdamWOptimizer {
 public:
  /// Moments are zero, in the type and shape of the masters; undefined for weights that are not trained.
  AdamWOptimizer(const std::vector<model::Weight>& weights, const TrainConfig& config);

  /// Update number `step` (counted from 0) of every weight that has a gradient, in place. The gradients are
  /// multiplied by `gradient_scale` (the clipping factor) as they are read.
  void update(std::vector<model::Weight>& weights, int64_t step, double learning_rate, double gradient_scale);
  /// Back to zero moments.
  void reset();

  /// In the order of the weights; for checkpoints.
  std::vector<at::Tensor>& first_moments() { return first_moments_; }
  std::vector<at::Tensor>& second_moments() { return second_moments_; }
  const std::vector<at::Tensor>& first_moments() const { return first_moments_; }
  const std::vector<at::Tensor>& second_moments() const { return second_moments_; }

 private:
  TrainConfig config_;
  std::vector<at::Tensor> first_moments_;
  std::vector<at::Tensor> second_moments_;
};

}  // namespace gca::train
