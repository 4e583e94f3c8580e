#pragma once
// Attention of one query over a run of keys and values that lie in rows: what decoding does with a window or
// with a chosen chunk. Bound by reading keys and values once.

#include <cmath>
#include <limits>

#include "kernels/common/tile_operand.h"

namespace gca::kernels {

/// `count` rows of one head, `step` elements apart.
template <typename T>
struct HeadRows {
  const T* keys;
  const T* values;
  int64_t key_step, value_step;
  int64_t count;
};

/// s_j = q . k_j * scale + bias + j * bias_step; softmax_one adds a key of score and value 0.
struct OneQueryScores {
  float scale = 1;
  float bias = 0, bias_step = 0;
  bool softmax_one = false;
  float weight = 1;  ///< of what is read
};

/// out (head_dim) += weight * softmax(s) V. Returns the logarithm of the softmax's denominator. `score` holds
/// `count` floats.
template <typename T>
float read_with_one_query(const TileKernels& floats, int64_t head_dim, const float* query,
                          const HeadRows<T>& rows, const OneQueryScores& scores, float* score, float* out) {
  dot_rows(floats, rows.count, head_dim, query, rows.keys, rows.key_step, score);
  float largest = scores.softmax_one ? 0.0F : -std::numeric_limits<float>::infinity();
  float denominator = 0;
  floats.softmax_row(rows.count, score, scores.scale, scores.bias, scores.bias_step, &largest, &denominator);
  if (scores.softmax_one) denominator += std::exp(-largest);
  scale_floats(scores.weight / denominator, rows.count, score);
  add_weighted_rows(floats, rows.count, head_dim, score, rows.values, rows.value_step, out);
  return largest + std::log(denominator);
}

}  // namespace gca::kernels
