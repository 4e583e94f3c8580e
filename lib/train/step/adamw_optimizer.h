#pragma once
// AdamW over the masters of a model. Owns the two moments of every weight; the arithmetic is kernels/adamw.

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/adamw/adamw.h"
#include "lib/train/settings/train_config.h"
#include "lib/train/step/optimizer.h"

namespace gca::train {

/// Factor on the learning rate of a weight, by the part of the model it belongs to.
double learning_rate_factor(const TrainConfig& config, model::WeightGroup group);

/// What the update number `step` (counted from 0) has of `config`.
kernels::AdamWSettings adamw_settings(const TrainConfig& config, int64_t step, double gradient_scale);

class AdamWOptimizer : public Optimizer {
 public:
  /// Borrows `weights`. Moments are zero, in the type and shape of the masters; undefined for weights that are not
  /// trained.
  AdamWOptimizer(std::vector<model::Weight>& weights, const TrainConfig& config);

  void begin_last_backward() override {}
  double gradient_norm() override;
  void update(int64_t step, double learning_rate, double gradient_scale) override;
  void reset() override;
  at::Tensor moment(Moment moment, size_t weight) const override;
  void set_moment(Moment moment, size_t weight, const at::Tensor& whole) override;
  int64_t moment_bytes() const override;

  /// In the order of the weights.
  const std::vector<at::Tensor>& first_moments() const { return first_moments_; }
  const std::vector<at::Tensor>& second_moments() const { return second_moments_; }

 private:
  const std::vector<at::Tensor>& moments(Moment moment) const {
    return moment == Moment::first ? first_moments_ : second_moments_;
  }

  std::vector<model::Weight>& weights_;
  TrainConfig config_;
  std::vector<at::Tensor> first_moments_;
  std::vector<at::Tensor> second_moments_;
};

}  // namespace gca::train
