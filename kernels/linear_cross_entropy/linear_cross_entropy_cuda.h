#pragma once
// The parts of the output projection's cross-entropy that are not matrix products (the contract:
// linear_cross_entropy.h). The vocabulary goes by in blocks of columns, logits z (rows, columns) of one block
// at a time: a first round gathers each row's maximum, sum and target logit; a second makes dz from logits
// computed again.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct CrossEntropyStatisticsParams {
  const float* z = nullptr;          // (rows, columns), rows `stride` apart
  const int64_t* targets = nullptr;  // (rows), negative for none
  float* largest = nullptr;          // (rows): running maximum; at the first block anything
  float* sum = nullptr;              // (rows): running sum of exp(z - largest)
  float* target_logit = nullptr;     // (rows): written by the block that has the target's column
  int64_t rows = 0, stride = 0;
  int32_t columns = 0;
  int32_t first_column = 0;  // number of column 0 in the vocabulary; 0 begins the statistics
};

struct CrossEntropyGradientParams {
  const float* z = nullptr;
  const int64_t* targets = nullptr;
  const float* largest = nullptr;
  const float* sum = nullptr;
  Bf16* dz = nullptr;  // (rows, columns) side by side: (softmax - onehot) scale; 0 in rows without a target
  int64_t rows = 0, stride = 0;
  int32_t columns = 0;
  int32_t first_column = 0;
  float scale = 1;  // 1 / number of targets
};

/// A block a row.
inline LaunchShape cross_entropy_launch_shape(int64_t rows) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(rows);
  result.threads = 128;
  return result;
}

int launch_cross_entropy_statistics(const CrossEntropyStatisticsParams& params, void* stream);
int launch_cross_entropy_gradient(const CrossEntropyGradientParams& params, void* stream);

}  // namespace gca::cuda
