// Bound by memory: a thread a column, neighbours side by side.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/sum_rows_cuda.h"

namespace gca::cuda {

__global__ void __launch_bounds__(64) sum_rows_kernel(const __grid_constant__ SumRowsParams p) {
  const int64_t column = int64_t{blockIdx.x} * 64 + threadIdx.x;
  if (column >= p.columns) return;
  float sum = 0;
  for (int64_t row = 0; row < p.rows; ++row) sum += p.parts[row * p.columns + column];
  p.sums[column] = sum;
}

int launch_sum_rows(const SumRowsParams& params, void* stream) {
  return launch(sum_rows_kernel, sum_rows_launch_shape(params.columns), stream, params);
}

}  // namespace gca::cuda
