#pragma once
// Rounding of the retrieval weights while training: w below a threshold becomes, at random,
//
//   the threshold with probability w / threshold,   else 0,
//
// so its mean stays w, and gradients flow as if w itself had been used (straight through). Without it a model
// that tells chunks apart when it reads them need not tell them apart when it chooses: what is read at a
// small weight can be made loud by W_o. A chunk that is mostly not read at all can not, and the
// language-model loss of the steps without it raises its score.

#include <ATen/core/Tensor.h>

namespace gca::model {

/// weights (B, R, K), uniform of the same shape and type in (0, 1), threshold in (0, 1] -> (B, R, K), each 0,
/// the threshold, or a weight at or above it.
at::Tensor round_weights(const at::Tensor& weights, const at::Tensor& uniform, double threshold);

}  // namespace gca::model
