#pragma once
// Launches: shape and arguments to the CUDA runtime, its error back as a number.

#include <cuda_runtime.h>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

/// The error of the launch, 0 for none (a cudaError_t).
template <class... Parameters>
int launch(void (*kernel)(Parameters...), const LaunchShape& shape, void* stream, Parameters... parameters) {
  constexpr uint32_t kSharedWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  kernel<<<dim3(shape.grid_x, shape.grid_y, shape.grid_z), shape.threads, shape.shared_bytes,
           static_cast<cudaStream_t>(stream)>>>(parameters...);
  return cudaGetLastError();
}

}  // namespace gca::cuda
