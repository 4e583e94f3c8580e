// g = c gradient     m = b1 m + (1 - b1) g     v = b2 v + (1 - b2) g^2     w -= step_size m / (sqrt(v / (1 -
// b2^t)) + eps) + decay w
//
// Bound by memory: four streams read, three and a half written, one pass. The norm: one stream read.
#include "kernels/adamw/adamw_cuda.h"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"

namespace gca::cuda {

__global__ void __launch_bounds__(256) adamw_kernel(const __grid_constant__ AdamWParams p) {
  const auto update = [&](float gradient, float& m, float& v, float& w) {
    const float g = p.gradient_scale * gradient;
    m = p.beta1 * m + (1 - p.beta1) * g;
    v = p.beta2 * v + (1 - p.beta2) * g * g;
    w -= p.step_size * m / (sqrtf(v * p.inverse_correction2) + p.epsilon) + p.decay * w;
  };
  const int64_t i = (int64_t{blockIdx.x} * 256 + threadIdx.x) * 4;
  if (i + 4 <= p.size) {
    const float4 g = load4(p.gradient + i);
    float4 m = load4(p.first_moment + i), v = load4(p.second_moment + i), w = load4(p.weight + i);
    update(g.x, m.x, v.x, w.x);
    update(g.y, m.y, v.y, w.y);
    update(g.z, m.z, v.z, w.z);
    update(g.w, m.w, v.w, w.w);
    store4(p.first_moment + i, m);
    store4(p.second_moment + i, v);
    store4(p.weight + i, w);
    if (p.copy != nullptr) store4(p.copy + i, w);
    return;
  }
  for (int64_t k = i; k < p.size; ++k) {
    update(p.gradient[k], p.first_moment[k], p.second_moment[k], p.weight[k]);
    if (p.copy != nullptr) reinterpret_cast<__nv_bfloat16*>(p.copy)[k] = __float2bfloat16_rn(p.weight[k]);
  }
}

__device__ __forceinline__ double block_sum(double sum) {
  __shared__ double warp_sums[8];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xFFFFFFFF, sum, distance);
  if ((threadIdx.x & 31) == 0) warp_sums[threadIdx.x >> 5] = sum;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 8; ++i) total += warp_sums[i];
  }
  return total;
}

__global__ void __launch_bounds__(256) sum_of_squares_kernel(const __grid_constant__ SumOfSquaresParams p) {
  const int64_t end = min(p.size, (int64_t{blockIdx.x} + 1) * kNormBlock);
  double sum = 0;
  int64_t i = int64_t{blockIdx.x} * kNormBlock + threadIdx.x * 4;
  for (; i + 4 <= end; i += 4 * 256) {
    const float4 v = load4(p.x + i);
    sum += double{v.x} * v.x + double{v.y} * v.y + double{v.z} * v.z + double{v.w} * v.w;
  }
  for (; i < end; ++i) sum += double{p.x[i]} * p.x[i];
  const double total = block_sum(sum);
  if (threadIdx.x == 0) p.parts[blockIdx.x] = total;
}

__global__ void __launch_bounds__(256) sum_parts_kernel(const __grid_constant__ SumPartsParams p) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < p.size; i += 256) sum += p.parts[i];
  const double total = block_sum(sum);
  if (threadIdx.x == 0) *p.sum = total;
}

int launch_adamw(const AdamWParams& params, void* stream) {
  return launch(adamw_kernel, adamw_launch_shape(params.size), stream, params);
}
int launch_sum_of_squares(const SumOfSquaresParams& params, void* stream) {
  return launch(sum_of_squares_kernel, sum_of_squares_launch_shape(params.size), stream, params);
}
int launch_sum_parts(const SumPartsParams& params, void* stream) {
  LaunchShape shape;
  shape.threads = 256;
  return launch(sum_parts_kernel, shape, stream, params);
}

}  // namespace gca::cuda
