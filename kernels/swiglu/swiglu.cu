// y = silu(gate) up,  silu(x) = x s(x),  s(x) = 1 / (1 + exp(-x))      dgate = dy up s (1 + gate (1 - s)) dup
// = dy silu(gate)
//
// Bound by memory: every number is read once and written once; computed in float, rounded once.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/swiglu/swiglu_cuda.h"

namespace gca::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) {
  return reciprocal_fast(1.0F + exp2_fast(-x * kLog2e));
}

}  // namespace

__global__ void __launch_bounds__(256) swiglu_kernel(const __grid_constant__ SwigluParams p) {
  const int64_t i = (int64_t{blockIdx.x} * 256 + threadIdx.x) * 4;
  if (i >= p.size) return;
  const float4 g = load4(p.gate + i), u = load4(p.up + i);
  store4(p.y + i, float4{g.x * sigmoid(g.x) * u.x, g.y * sigmoid(g.y) * u.y, g.z * sigmoid(g.z) * u.z,
                         g.w * sigmoid(g.w) * u.w});
}

__global__ void __launch_bounds__(256)
    swiglu_backward_kernel(const __grid_constant__ SwigluBackwardParams p) {
  const int64_t i = (int64_t{blockIdx.x} * 256 + threadIdx.x) * 4;
  if (i >= p.size) return;
  const float4 dy = load4(p.dy + i), g = load4(p.gate + i), u = load4(p.up + i);
  const auto dgate = [](float dy_e, float g_e, float u_e) {
    const float s = sigmoid(g_e);
    return dy_e * u_e * (s * (1.0F + g_e * (1.0F - s)));
  };
  store4(p.dgate + i,
         float4{dgate(dy.x, g.x, u.x), dgate(dy.y, g.y, u.y), dgate(dy.z, g.z, u.z), dgate(dy.w, g.w, u.w)});
  store4(p.dup + i, float4{dy.x * g.x * sigmoid(g.x), dy.y * g.y * sigmoid(g.y), dy.z * g.z * sigmoid(g.z),
                           dy.w * g.w * sigmoid(g.w)});
}

int launch_swiglu(const SwigluParams& params, void* stream) {
  return launch(swiglu_kernel, swiglu_launch_shape(params.size), stream, params);
}
int launch_swiglu_backward(const SwigluBackwardParams& params, void* stream) {
  return launch(swiglu_backward_kernel, swiglu_launch_shape(params.size), stream, params);
}

}  // namespace gca::cuda
