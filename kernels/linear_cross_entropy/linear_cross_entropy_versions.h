#pragma once
// The versions of linear_cross_entropy behind the operator: losses of rows that all have a target, and the
// gradients of their mean.

#include <ATen/core/Tensor.h>

#include "kernels/common/bf16_tile_kernels.h"

namespace gca::kernels {

struct LossAndGradients {
  at::Tensor loss;     ///< (M), float32 (float64 for double)
  at::Tensor dx;       ///< (M, d), type of x; undefined when not wanted
  at::Tensor dweight;  ///< (V, d), type of loss; undefined when not wanted
};

/// Composed of library calls, `row_block` rows at a time; any float type.
LossAndGradients linear_cross_entropy_composed(const at::Tensor& x, const at::Tensor& weight,
                                               const at::Tensor& targets, bool gradients, int64_t row_block);

/// bf16 on a device: own kernels between the library's products, so many columns at a time that a block has
/// at most `block_logits` logits (0: as many as are quick), 64 at least.
LossAndGradients linear_cross_entropy_columns(const at::Tensor& x, const at::Tensor& weight,
                                              const at::Tensor& targets, bool gradients,
                                              int64_t block_logits = 0);

/// bf16, where the processor multiplies it (or its arithmetic is emulated).
LossAndGradients linear_cross_entropy_bf16(const Bf16TileKernels& kernels, const at::Tensor& x,
                                           const at::Tensor& weight, const at::Tensor& targets,
                                           bool gradients);

}  // namespace gca::kernels
