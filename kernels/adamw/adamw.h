#pragma once
// AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), on fp32 masters:
//
//   g = c * gradient        m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
//   w = w - lr * ( m / (1 - b1^t) / ( sqrt(v / (1 - b2^t)) + eps ) + decay * w )
//
// Bound by memory: four streams read and three written in one pass over all weights, and the bf16 copy that
// products read.

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace gca::kernels {

struct AdamWSettings {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-6;
  double weight_decay = 0.001;
  int64_t step = 1;             ///< t, counted from 1
  double gradient_scale = 1.0;  ///< c, the clipping factor
};

/// One weight, updated in place with its moments: all float32 (or all float64), contiguous, of one shape.
struct AdamWUpdate {
  at::Tensor weight, gradient, first_moment, second_moment;
  at::Tensor
      copy;  ///< of the weight in another type, rewritten with it; undefined, or the weight itself: none
  double learning_rate = 0.0;
  bool decays = true;  ///< false: decay is 0
};

/// All updates of a step.
void adamw_step(std::span<const AdamWUpdate> updates, const AdamWSettings& settings);

/// Euclidean norm over all gradients together, accumulated in double in a fixed order (the same for any
/// number of threads); undefined tensors count as zero.
double gradient_norm(const std::vector<at::Tensor>& gradients);

}  // namespace gca::kernels
