#pragma once
// Messages between the devices of ranks, without a copy on the CPU.

#include <c10/core/Device.h>

#include "lib/parallel/communicator.h"

namespace gca::parallel {

/// From now on tensors on the ranks' GPUs travel over NCCL; `device` is that of this rank, and of no other. The device
/// library, which has NCCL, must be loaded (lib/device). All ranks call it alike. Where they cannot be connected, one
/// rank throws Error(failed), the others FailedElsewhere.
void connect_devices(Communicator& communicator, c10::Device device);

}  // namespace gca::parallel
