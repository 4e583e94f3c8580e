#pragma once
// The choice of chunks: I_t = top K over c < t of r_tc + noise_tc, and the weights w_t = softmax over I_t of
// r_tc. The choice has no gradient; the weights have, and carry the language-model loss back into the scores.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// Chunks chosen at the landmarks of chunks first_query, first_query + 1, ...
///   r     (B, R, C) float32 or float64: scores of every query row and chunk
///   noise (B, R, C) of the same type, or undefined
/// Returns idx (B, R, K) int32, by falling r + noise, lower chunk number first on a tie; row t has candidates
/// c < t only and -1 in the slots beyond them. NaN scores are never preferred to a number.
at::Tensor landmark_topk(const at::Tensor& r, const at::Tensor& noise, int64_t first_query, int64_t K);

/// Softmax of r over the chosen slots: w (B, R, K), type of r, 0 where idx is -1; differentiable in r.
at::Tensor retrieval_weights(const at::Tensor& r, const at::Tensor& idx);

}  // namespace gca::kernels
