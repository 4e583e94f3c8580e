#pragma once
// Arguments and launch shape of the CUDA kernel of rotary positions (the contract: rotary.h). x and y (N, S,
// H, dh) bfloat16 side by side, dh a multiple of 8; the angles come as a table.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct RotaryParams {
  const Bf16* x = nullptr;
  Bf16* y = nullptr;
  const float* cosine = nullptr;  // (S, dh / 2)
  const float* sine = nullptr;
  int64_t rows = 0;       // N S H
  int32_t positions = 0;  // S
  int32_t heads = 0;
  int32_t head_dim = 0;
  float direction = 1;  // -1 turns back
};

/// A thread turns four pairs.
inline LaunchShape rotary_launch_shape(int64_t rows, int head_dim) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(rows * (head_dim / 8), 256));
  result.threads = 256;
  return result;
}

int launch_rotary(const RotaryParams& params, void* stream);

}  // namespace gca::cuda
