#pragma once
// Grouped cross-attention in plain loops over doubles: the truth that kernels are held against. With
// `rounded` it rounds where a plain bfloat16 version does (probabilities, dS and results), which tells how
// much error is due to the format alone.

#include <cstdint>
#include <vector>

#include "kernels/grouped_cross_attention/grouped_cross_attention_cuda.h"

namespace gca::testing {

/// A problem in row-major tensors: q, dout (B, n, H, dh), k, v (B, C, M, H_kv, dh), idx, w (B, R, K).
struct GcaProblem {
  cuda::GcaShape shape;
  std::vector<float> q, k, v, dout, w;
  std::vector<int32_t> idx;
};

struct GcaTruth {
  std::vector<double> out, lse;  // lse (B, n, H, K)
  std::vector<double> delta;     // as lse: <dout, o_k>
  std::vector<double> dq, dk, dv, dw;
};

GcaTruth gca_truth(const GcaProblem& problem, bool rounded);

/// Random numbers that bfloat16 holds exactly; lists of chunks that look back, with some slots empty, some
/// rows empty, and every list of row 0 empty.
GcaProblem random_gca_problem(const cuda::GcaShape& shape, uint64_t seed, double share_of_empty_slots = 0.15);

}  // namespace gca::testing
