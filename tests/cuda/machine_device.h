#pragma once
// The PTX machine as a device of LibTorch: tensors live in its memory, the project's operators run their CUDA
// kernels' PTX on it, every other operator runs on the CPU over a copy. A tensor on the wrong device is an
// error there as on a GPU.

#include <ATen/core/Tensor.h>

namespace gca::testing {

/// One of four devices, such as those of ranks; registers them at the first call.
at::Device machine_device(int number = 0);

}  // namespace gca::testing
