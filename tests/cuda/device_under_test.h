#pragma once
// What test_device_model.cpp runs on: the PTX machine (device_on_machine.cpp) or a GPU (device_on_gpu.cpp).

#include <ATen/core/Tensor.h>

#include <initializer_list>

namespace gca::testing {

at::Device device_under_test();

/// Lets the machine stand for GPUs of a compute capability (8 at first); a GPU keeps its own.
void stand_for_capability(int major);

/// Fails the test where one of these kernels has not run; a GPU does not tell.
void require_launched(std::initializer_list<const char*> kernels);

}  // namespace gca::testing
