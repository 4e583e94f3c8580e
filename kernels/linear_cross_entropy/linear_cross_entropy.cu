// loss_i = log sum_v exp(z_iv) - z_i,target      dz = (exp(z - max) / sum - onehot(target)) / count
//
// Bound by memory: a block of logits is read once in each round. Maximum and sum of a row run on from block
// to block of columns.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/linear_cross_entropy/linear_cross_entropy_cuda.h"

namespace gca::cuda {

__global__ void __launch_bounds__(128)
    cross_entropy_statistics_kernel(const __grid_constant__ CrossEntropyStatisticsParams p) {
  __shared__ float warp_values[2][4];
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const float* z = p.z + row * p.stride;
  // Each thread its own maximum and sum, in one reading.
  float largest = -INFINITY, sum = 0;
  for (int column = threadIdx.x; column < p.columns; column += 128) {
    const float value = z[column];
    const float now = fmaxf(largest, value);
    sum = sum * exp2_fast((largest - now) * kLog2e) + exp2_fast((value - now) * kLog2e);
    largest = now;
  }
  const float warp_largest = warp_max(largest);
  sum = largest == -INFINITY ? 0.0F : sum * exp2_fast((largest - warp_largest) * kLog2e);
  sum = warp_sum(sum);
  if (lane == 0) {
    warp_values[0][warp] = warp_largest;
    warp_values[1][warp] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  float total_largest = p.first_column == 0 ? -INFINITY : p.largest[row];
  float total = p.first_column == 0 ? 0.0F : p.sum[row];
  for (int i = 0; i < 4; ++i) {
    const float other = warp_values[0][i];
    if (other == -INFINITY) continue;
    const float now = fmaxf(total_largest, other);
    total = (total_largest == -INFINITY ? 0.0F : total * exp2_fast((total_largest - now) * kLog2e)) +
            warp_values[1][i] * exp2_fast((other - now) * kLog2e);
    total_largest = now;
  }
  p.largest[row] = total_largest;
  p.sum[row] = total;
  const int64_t target = p.targets[row] - p.first_column;
  if (target >= 0 && target < p.columns) p.target_logit[row] = z[target];
}

__global__ void __launch_bounds__(128)
    cross_entropy_gradient_kernel(const __grid_constant__ CrossEntropyGradientParams p) {
  const int64_t row = blockIdx.x;
  const int64_t target = p.targets[row];
  const float* z = p.z + row * p.stride;
  const float largest = p.largest[row];
  const float factor = target >= 0 ? p.scale / p.sum[row] : 0.0F;
  const int64_t target_column = target >= 0 ? target - p.first_column : -1;
  Bf16* dz = p.dz + row * p.columns;
  for (int column = threadIdx.x; column < p.columns; column += 128) {
    float value = exp2_fast((z[column] - largest) * kLog2e) * factor;
    if (column == target_column) value -= p.scale;
    reinterpret_cast<__nv_bfloat16*>(dz)[column] = __float2bfloat16_rn(value);
  }
}

int launch_cross_entropy_statistics(const CrossEntropyStatisticsParams& params, void* stream) {
  return launch(cross_entropy_statistics_kernel, cross_entropy_launch_shape(params.rows), stream, params);
}
int launch_cross_entropy_gradient(const CrossEntropyGradientParams& params, void* stream) {
  return launch(cross_entropy_gradient_kernel, cross_entropy_launch_shape(params.rows), stream, params);
}

}  // namespace gca::cuda
