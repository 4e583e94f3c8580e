#pragma once
// Arguments and launch shapes of the CUDA kernels of RMSNorm (the contract: rms_norm.h). Rows of d floats
// side by side, d a multiple of 4, at most 2048; y and dy bfloat16 or float.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct RmsNormParams {
  const float* x = nullptr;
  const Bf16* addend = nullptr;  // added to x before the norm, or null
  float* sum = nullptr;          // x + addend, where there is an addend
  const float* weight = nullptr;
  void* y = nullptr;             // Bf16 or float
  float* inverse_rms = nullptr;  // (rows)
  int64_t rows = 0;
  int32_t d = 0;
  float eps = 0;
  int32_t y_is_float = 0;
};

struct RmsNormBackwardParams {
  const void* dy = nullptr;  // Bf16 or float
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* inverse_rms = nullptr;
  float* dx = nullptr;
  float* partial = nullptr;  // (rms_norm_partials(rows), d): parts of dweight
  int64_t rows = 0;
  int32_t d = 0;
  int32_t dy_is_float = 0;
};

/// Vectors of four that a lane holds: a warp a row.
inline int rms_norm_vectors(int d) {
  return d <= 512 ? 4 : d <= 1024 ? 8 : 16;
}

inline LaunchShape rms_norm_launch_shape(int64_t rows) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(rows, 4));
  result.threads = 128;
  return result;
}

constexpr int64_t kRmsNormBlockRows = 32;  // of a block of the backward pass
inline int64_t rms_norm_partials(int64_t rows) {
  return ceil_div(rows, kRmsNormBlockRows);
}
inline LaunchShape rms_norm_backward_launch_shape(int64_t rows, int d) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(rms_norm_partials(rows));
  result.threads = 128;
  result.shared_bytes = static_cast<uint32_t>(4 * d * 4);  // a row of sums a warp
  return result;
}

int launch_rms_norm(const RmsNormParams& params, void* stream);
int launch_rms_norm_backward(const RmsNormBackwardParams& params, void* stream);

}  // namespace gca::cuda
