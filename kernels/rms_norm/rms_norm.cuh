#pragma once
// y = weight * x * inverse_rms, x perhaps plus a residual branch first:
//
//   r = 1 / sqrt(mean(x^2) + eps)     dx = r (g - n mean(g n)),  n = x r,  g = dy weight      dweight = sum
//   over rows of dy n
//
// Bound by memory: x is read once and kept in registers, a warp a row. dweight: a warp sums its rows in
// registers, the block's warps meet in shared memory, blocks in sum_rows_kernel; all in a fixed order.

#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/rms_norm/rms_norm_cuda.h"

namespace gca::cuda {

template <int kVectors, class Y>
__global__ void __launch_bounds__(128) rms_norm_kernel(const __grid_constant__ RmsNormParams p) {
  const int lane = threadIdx.x & 31;
  const int64_t row = int64_t{blockIdx.x} * 4 + (threadIdx.x >> 5);
  if (row >= p.rows) return;
  const float* x = p.x + row * p.d;
  float4 values[kVectors];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * 32 + lane) * 4;
    values[i] = float4{0, 0, 0, 0};
    if (column >= p.d) continue;
    float4& v = values[i];
    v = load4(x + column);
    if (p.addend != nullptr) {
      const float4 a = load4(p.addend + row * p.d + column);
      v = float4{v.x + a.x, v.y + a.y, v.z + a.z, v.w + a.w};
      store4(p.sum + row * p.d + column, v);
    }
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  }
  squares = warp_sum(squares);
  const float scale = 1.0F / sqrtf(squares / static_cast<float>(p.d) + p.eps);
  if (lane == 0 && p.inverse_rms != nullptr) p.inverse_rms[row] = scale;
  Y* y = static_cast<Y*>(p.y) + row * p.d;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * 32 + lane) * 4;
    if (column >= p.d) continue;
    const float4 v = values[i];
    const float4 w = load4(p.weight + column);
    store4(y + column,
           float4{w.x * (v.x * scale), w.y * (v.y * scale), w.z * (v.z * scale), w.w * (v.w * scale)});
  }
}

template <int kVectors, class Y>
__global__ void __launch_bounds__(128)
    rms_norm_backward_kernel(const __grid_constant__ RmsNormBackwardParams p) {
  extern __shared__ __align__(16) float warp_sums[];  // (4, d)
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  float4 sums[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) sums[i] = float4{0, 0, 0, 0};
  const int64_t first = int64_t{blockIdx.x} * kRmsNormBlockRows;
  const int64_t end = min(first + kRmsNormBlockRows, p.rows);
  for (int64_t row = first + warp; row < end; row += 4) {
    const float r = p.inverse_rms[row];
    float4 n[kVectors], dy[kVectors];
    float projection = 0;  // sum of g n
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * 32 + lane) * 4;
      n[i] = dy[i] = float4{0, 0, 0, 0};
      if (column >= p.d) continue;
      const float4 x = load4(p.x + row * p.d + column);
      const float4 w = load4(p.weight + column);
      const float4 g = load4(static_cast<const Y*>(p.dy) + row * p.d + column);
      n[i] = float4{x.x * r, x.y * r, x.z * r, x.w * r};
      sums[i] = float4{fmaf(g.x, n[i].x, sums[i].x), fmaf(g.y, n[i].y, sums[i].y),
                       fmaf(g.z, n[i].z, sums[i].z), fmaf(g.w, n[i].w, sums[i].w)};
      dy[i] = float4{g.x * w.x, g.y * w.y, g.z * w.z, g.w * w.w};
      projection = fmaf(dy[i].x, n[i].x,
                        fmaf(dy[i].y, n[i].y, fmaf(dy[i].z, n[i].z, fmaf(dy[i].w, n[i].w, projection))));
    }
    const float mean = warp_sum(projection) / static_cast<float>(p.d);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * 32 + lane) * 4;
      if (column >= p.d) continue;
      store4(p.dx + row * p.d + column, float4{r * (dy[i].x - n[i].x * mean), r * (dy[i].y - n[i].y * mean),
                                               r * (dy[i].z - n[i].z * mean), r * (dy[i].w - n[i].w * mean)});
    }
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * 32 + lane) * 4;
    if (column < p.d) store4(warp_sums + warp * p.d + column, sums[i]);
  }
  __syncthreads();
  for (int column = threadIdx.x; column < p.d; column += 128) {
    float sum = warp_sums[column];
#pragma unroll
    for (int i = 1; i < 4; ++i) sum += warp_sums[i * p.d + column];
    p.partial[int64_t{blockIdx.x} * p.d + column] = sum;
  }
}

}  // namespace gca::cuda
