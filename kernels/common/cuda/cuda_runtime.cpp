// What the bindings ask of the CUDA runtime (device_tensor.h). LibTorch's allocator and streams: results of
// the bindings are its tensors, and kernels run in the order in which its own do.
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "kernels/common/cuda/device_tensor.h"

namespace gca::cuda {

void* current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

int compute_capability() {
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess)
    return 0;
  return major;
}

std::string launch_error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // namespace gca::cuda
