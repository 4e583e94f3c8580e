#pragma once
// Arguments and launch shapes of the CUDA kernels of the optimizer (the contract: adamw.h): one update of
// float masters with their moments, which also writes the bfloat16 copy that the model computes with; the
// norm of all gradients.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct AdamWParams {
  float* weight = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  Bf16* copy = nullptr;  // null: not wanted
  int64_t size = 0;
  float beta1 = 0, beta2 = 0, epsilon = 0;
  float gradient_scale = 1;       // c, the clipping factor
  float step_size = 0;            // lr / (1 - beta1^t)
  float inverse_correction2 = 0;  // 1 / (1 - beta2^t)
  float decay = 0;                // lr * weight decay
};

inline LaunchShape adamw_launch_shape(int64_t size) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(size, 4 * 256));
  result.threads = 256;
  return result;
}

/// Sum of squares in double: parts of blocks of kNormBlock numbers, to be summed in order.
constexpr int64_t kNormBlock = 32768;
struct SumOfSquaresParams {
  const float* x = nullptr;
  double* parts = nullptr;  // (ceil(size / kNormBlock))
  int64_t size = 0;
};

inline LaunchShape sum_of_squares_launch_shape(int64_t size) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(size, kNormBlock));
  result.threads = 256;
  return result;
}

/// The parts of all gradients, in order, into one number (the square of the norm).
struct SumPartsParams {
  const double* parts = nullptr;
  double* sum = nullptr;
  int64_t size = 0;
};

int launch_adamw(const AdamWParams& params, void* stream);
int launch_sum_of_squares(const SumOfSquaresParams& params, void* stream);
int launch_sum_parts(const SumPartsParams& params, void* stream);

}  // namespace gca::cuda
