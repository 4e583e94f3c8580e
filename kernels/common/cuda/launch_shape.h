#pragma once
// How a kernel is launched, in plain numbers: launchers pass it to the CUDA runtime, tests to the PTX
// machine.

#include <cstdint>

namespace gca::cuda {

/// A bfloat16 number as its bits: kernels' arguments for host code that knows no CUDA types.
struct Bf16 {
  uint16_t bits;
};

struct LaunchShape {
  uint32_t grid_x = 1, grid_y = 1, grid_z = 1;
  uint32_t threads = 1;
  uint32_t shared_bytes = 0;  // dynamic
};

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace gca::cuda
