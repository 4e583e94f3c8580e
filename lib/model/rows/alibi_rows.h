#pragma once
// Attention with ALiBi of a position over rows that end with its own.

#include <cstdint>

#include "kernels/common/one_query_attention.h"
#include "kernels/common/thread_workspace.h"

namespace gca::model {

/// The rows of one head that a position reads: `count` of them, `step` elements apart, the last its own.
template <typename T>
struct NewestRows {
  const T* key;  ///< of the last
  const T* value;
  int64_t step;
  int64_t count;
};

/// out (dh) += softmax(q . k * scale - slope * rows between) V. Returns the logarithm of the softmax's denominator.
template <typename T>
float read_with_alibi(int64_t head_dim, const float* query, const NewestRows<T>& rows, float scale,
                      float slope, float* out) {
  struct Scores;
  const int64_t back = (rows.count - 1) * rows.step;
  return kernels::read_with_one_query(
      kernels::tile_kernels(), head_dim, query,
      kernels::HeadRows<T>{rows.key - back, rows.value - back, rows.step, rows.step, rows.count},
      kernels::OneQueryScores{
          .scale = scale, .bias = -slope * static_cast<float>(rows.count - 1), .bias_step = slope},
      kernels::ThreadWorkspace<float, Scores>::get(rows.count), out);
}

}  // namespace gca::model
