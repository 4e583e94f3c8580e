// (a, b) -> (a cos - b sin, b cos + a sin) for a in the first half of a head and b beside it in the second.
// Bound by memory.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/rotary/rotary_cuda.h"

namespace gca::cuda {

__global__ void __launch_bounds__(256) rotary_kernel(const __grid_constant__ RotaryParams p) {
  const int vectors = p.head_dim / 8;  // of a half
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x;
  const int64_t row = i / vectors;
  if (row >= p.rows) return;
  const int half = p.head_dim / 2;
  const int element = static_cast<int>(i % vectors) * 4;
  const auto position = static_cast<int>(row / p.heads % p.positions);
  const float4 c = load4(p.cosine + position * half + element);
  float4 s = load4(p.sine + position * half + element);
  s = float4{s.x * p.direction, s.y * p.direction, s.z * p.direction, s.w * p.direction};
  const float4 a = load4(p.x + row * p.head_dim + element),
               b = load4(p.x + row * p.head_dim + half + element);
  Bf16* y = p.y + row * p.head_dim + element;
  store4(y,
         float4{a.x * c.x - b.x * s.x, a.y * c.y - b.y * s.y, a.z * c.z - b.z * s.z, a.w * c.w - b.w * s.w});
  store4(y + half,
         float4{b.x * c.x + a.x * s.x, b.y * c.y + a.y * s.y, b.z * c.z + a.z * s.z, b.w * c.w + a.w * s.w});
}

int launch_rotary(const RotaryParams& params, void* stream) {
  return launch(rotary_kernel, rotary_launch_shape(params.rows, params.head_dim), stream, params);
}

}  // namespace gca::cuda
