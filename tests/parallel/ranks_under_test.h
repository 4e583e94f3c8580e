#pragma once
// What test_communicator.cpp exchanges: tensors on the CPU (ranks_on_cpu.cpp), or each rank's own on the PTX machine as a
// device (tests/cuda/ranks_on_machine.cpp).

#include <ATen/core/Tensor.h>

#include "lib/parallel/communicator.h"

namespace gca::testing {

/// Makes a rank ready to exchange tensors on its device, which it gives. All ranks call it.
at::Device connected_device(parallel::Communicator& communicator);

}  // namespace gca::testing
