#pragma once
// What a step needs of an optimizer, whether one process holds all its state (adamw_optimizer.h) or each rank a share
// (lib/train/parallel/sharded_adamw.h).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lib/model/language_model.h"

namespace gca::train {

enum class Moment { first, second };

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Called before the last backward pass of a step: the gradients that it leaves in the masters are those of the step.
  virtual void begin_last_backward() = 0;
  /// Euclidean norm of the gradient of the step, over all weights and ranks.
  virtual double gradient_norm() = 0;
  /// Update number `step` (counted from 0), after gradient_norm(), of every weight that has a gradient, in place, and of
  /// the copies that products read. The gradients are multiplied by `gradient_scale` (the clipping factor) as they are
  /// read.
  virtual void update(int64_t step, double learning_rate, double gradient_scale) = 0;
  /// Back to zero moments.
  virtual void reset() = 0;

  /// A moment of weight number `weight`, whole, on the CPU. All ranks call it alike; those but rank 0 get none.
  virtual at::Tensor moment(Moment moment, size_t weight) const = 0;
  /// The other way round: takes what it keeps of `whole`, which has the type and shape of the master.
  virtual void set_moment(Moment moment, size_t weight, const at::Tensor& whole) = 0;
  /// Bytes of the moments that this process keeps.
  virtual int64_t moment_bytes() const = 0;
};

}  // namespace gca::train
