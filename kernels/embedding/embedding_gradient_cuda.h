#pragma once
// The gradient of a table of embeddings: dE[v] = sum of dh_i over the positions i whose token is v, in the
// order of the positions. Deterministic without atomics: positions come sorted by token (stable), and a row
// of the table has one owner.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct EmbeddingGradientParams {
  const float* dh = nullptr;        // (N, d), d a multiple of 4
  const int64_t* order = nullptr;   // (N): positions sorted by token
  const int64_t* starts = nullptr;  // (V + 1): where the positions of a token begin in `order`
  float* gradient = nullptr;        // (V, d)
  int64_t vocabulary = 0;
  int32_t d = 0;
  int32_t accumulate = 0;  // add to what is there (the output projection's share)
};

inline LaunchShape embedding_gradient_launch_shape(int64_t vocabulary, int d) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(vocabulary);
  result.grid_y = static_cast<uint32_t>(ceil_div(d, 4 * 128));
  result.threads = 128;
  return result;
}

int launch_embedding_gradient(const EmbeddingGradientParams& params, void* stream);

}  // namespace gca::cuda
