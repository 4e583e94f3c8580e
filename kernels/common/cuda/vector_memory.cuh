#pragma once
// Vectors of numbers between global memory and floats: 4 floats or 8 bfloat16 are 16 bytes, one access a
// lane.

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"
#include "kernels/common/cuda/tensor_core.cuh"

namespace gca::cuda {

__device__ __forceinline__ float bf16_low(uint32_t word) {
  return __uint_as_float(word << 16);
}
__device__ __forceinline__ float bf16_high(uint32_t word) {
  return __uint_as_float(word & 0xFFFF0000U);
}

/// Four numbers as floats.
__device__ __forceinline__ float4 load4(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
__device__ __forceinline__ float4 load4(const Bf16* from) {
  const uint2 words = *reinterpret_cast<const uint2*>(from);
  return {bf16_low(words.x), bf16_high(words.x), bf16_low(words.y), bf16_high(words.y)};
}
__device__ __forceinline__ void store4(float* to, float4 v) {
  *reinterpret_cast<float4*>(to) = v;
}
__device__ __forceinline__ void store4(Bf16* to, float4 v) {
  *reinterpret_cast<uint2*>(to) = uint2{pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
}

/// Sum over the warp in a fixed order; all lanes get it.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xFFFFFFFF, x, distance);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFF, x, distance));
  return x;
}

}  // namespace gca::cuda
