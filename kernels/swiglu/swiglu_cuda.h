#pragma once
// Arguments and launch shapes of the CUDA kernels of the SwiGLU gate (the contract: swiglu.h). Flat bfloat16,
// size a multiple of 4.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct SwigluParams {
  const Bf16* gate = nullptr;
  const Bf16* up = nullptr;
  Bf16* y = nullptr;
  int64_t size = 0;
};

struct SwigluBackwardParams {
  const Bf16* dy = nullptr;
  const Bf16* gate = nullptr;
  const Bf16* up = nullptr;
  Bf16* dgate = nullptr;
  Bf16* dup = nullptr;
  int64_t size = 0;
};

/// A thread four elements.
inline LaunchShape swiglu_launch_shape(int64_t size) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(size, 4 * 256));
  result.threads = 256;
  return result;
}

int launch_swiglu(const SwigluParams& params, void* stream);
int launch_swiglu_backward(const SwigluBackwardParams& params, void* stream);

}  // namespace gca::cuda
