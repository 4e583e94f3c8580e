#pragma once
// The device that --device names. CUDA is not linked: its libraries are loaded when it is asked for, so that
// the program starts where there is no GPU.

#include <c10/core/Device.h>

#include <string>

namespace gca::device {

/// What a CUDA device needs, by the names that the dynamic loader looks for.
struct CudaLibraries {
  std::string driver = "libcuda.so.1";
  std::string torch = "libtorch_cuda.so";
  std::string kernels = "libgca_cuda.so";
};

/// "cpu" or "cuda"; computations will be in `dtype` ("bf16" or "fp32"). The GPU is number `local_rank` of those that this
/// process sees, and the one that this thread works on from now on. Throws Error(failed) that says what is missing for a
/// GPU, Error(usage) for a type that its kernels do not have, and for ranks on a machine that has fewer GPUs.
c10::Device open_device(const std::string& name, const std::string& dtype, int local_rank = 0,
                        const CudaLibraries& libraries = {});

/// The last of these checks. `local_rank` -1: the launcher does not say.
void require_gpu(int local_rank, int gpus);

}  // namespace gca::device
