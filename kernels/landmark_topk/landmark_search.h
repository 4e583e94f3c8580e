#pragma once
// Scores and choice in one walk over all landmarks, for a memory too long for a matrix of (queries x chunks):
//
//   r_tc = < q_t, l_c > scale        I_t = top K over c < t of r_tc
//
// A row keeps its K best so far. Where landmarks have an int8 copy (coarse_landmarks.h), whole numbers tell
// which of them can be better than the K-th of these, and those alone are scored in float32: the choice and
// its scores are those of scoring everything. Bound by reading the copy once for few queries (decoding), by
// its products for many (prefill). No gradient: training has few chunks and takes landmark_topk.
//
// Keys of attention are searched in the same way, as they lie in a cache of keys (lib/model/layers/key_index.h).

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "kernels/landmark_topk/coarse_landmarks.h"

namespace gca::kernels {

/// Landmarks in order.
struct LandmarkPart {
  at::Tensor rows;         ///< (B, C_i, d), elements of a row side by side
  CoarseRuns coarse = {};  ///< of rows coarse_begin, coarse_begin + 1, ...; none where B > 1
  int64_t coarse_begin = 0;
};

/// Landmarks of one text where they lie in memory.
struct LandmarkRows {
  const void* first = nullptr;       ///< (count, d), rows dense
  at::ScalarType type = at::kFloat;  ///< or bf16
  int64_t count = 0;
  int64_t step = 0;  ///< from row to row, in elements
  CoarseRuns coarse = {};
  int64_t coarse_begin = 0;
};

std::vector<at::Tensor> rows_of(std::span<const LandmarkPart> parts);

struct LandmarkChoice {
  at::Tensor idx;  ///< (B, R, K) int32, by falling score, lower chunk number first on a tie; -1 for none
  at::Tensor r;    ///< (B, R, K) their scores, type of the queries; minus infinity for none and for NaN
};

/// Choices made at the landmarks of chunks first_query, first_query + 1, ...
///   query      (B, R, d) float32 or float64
///   landmarks  parts of the same type, or bf16 for float32 queries, one after the other: C = sum of C_i chunks
/// Row t has candidates c < first_query + t only. NaN scores are never preferred to a number.
LandmarkChoice landmark_search(const at::Tensor& query, std::span<const LandmarkPart> landmarks,
                               int64_t first_query, int64_t K, double scale);

/// The same for one query (d) that has seen them all and is scaled already: idx and r (K). Makes no tensors, for the members of
/// a team (kernels/common/thread_team.h), each of which searches alone.
void landmark_search_row(const float* query, int64_t d, std::span<const LandmarkRows> landmarks, int64_t K,
                         int32_t* idx, float* r);

}  // namespace gca::kernels
