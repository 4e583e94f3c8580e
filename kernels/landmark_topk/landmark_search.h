#pragma once
// Scores and choice in one walk over all landmarks, for a memory too long for a matrix of (queries x chunks):
//
//   r_tc = < q_t, l_c > scale        I_t = top K over c < t of r_tc
//
// Landmarks are scored in blocks that stay in the cache; a row keeps its K best so far, and most scores fail
// the first comparison with the least of them. Bound by reading the landmarks once for few queries
// (decoding), by the products for many (prefill). No gradient: training has few chunks and takes
// landmark_topk.

#include <ATen/core/Tensor.h>

#include <span>

namespace gca::kernels {

struct LandmarkChoice {
  at::Tensor idx;  ///< (B, R, K) int32, by falling score, lower chunk number first on a tie; -1 for none
  at::Tensor r;    ///< (B, R, K) their scores, type of the queries; minus infinity for none and for NaN
};

/// Choices made at the landmarks of chunks first_query, first_query + 1, ...
///   query      (B, R, d) float32 or float64
///   landmarks  parts (B, C_i, d) of the same type, rows dense, one after the other: C = sum of C_i chunks
/// Row t has candidates c < first_query + t only. NaN scores are never preferred to a number.
LandmarkChoice landmark_search(const at::Tensor& query, std::span<const at::Tensor> landmarks,
                               int64_t first_query, int64_t K, double scale);

}  // namespace gca::kernels
