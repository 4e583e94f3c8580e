// Bound by memory: dh is read once, the table written once. A thread owns four columns of one row of the table.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/embedding/embedding_gradient_cuda.h"

namespace gca::cuda {

__global__ void __launch_bounds__(128)
    embedding_gradient_kernel(const __grid_constant__ EmbeddingGradientParams p) {
  const int64_t token = blockIdx.x;
  const int column = (blockIdx.y * 128 + threadIdx.x) * 4;
  if (column >= p.d) return;
  const int64_t end = p.starts[token + 1];
  int64_t i = p.starts[token];
  if (i == end && p.accumulate != 0) return;
  float* to = p.gradient + token * p.d + column;
  float4 sum = p.accumulate != 0 ? load4(to) : float4{0, 0, 0, 0};
  for (; i < end; ++i) {
    const float4 v = load4(p.dh + p.order[i] * p.d + column);
    sum = float4{sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
  }
  store4(to, sum);
}

int launch_embedding_gradient(const EmbeddingGradientParams& params, void* stream) {
  return launch(embedding_gradient_kernel, embedding_gradient_launch_shape(params.vocabulary, params.d),
                stream, params);
}

}  // namespace gca::cuda
