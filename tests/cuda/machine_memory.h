#pragma once
// Memory of a device that is the PTX machine: blocks of the host that tensors live in. A launch sees those
// that its arguments point into, and nothing else.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/cuda/kernel_module.h"

namespace gca::testing {

/// A block of `size` bytes, aligned like a GPU's, full of NaN. Thread-safe, like the next.
void* allocate_on_machine(size_t size);
void free_on_machine(void* block);

/// Runs a kernel of build/ptx whose arguments point into blocks. Throws std::runtime_error with the machine's
/// reports, where there are any.
void run_on_machine(const std::string& file, const std::string& kernel, const cuda::LaunchShape& shape,
                    std::vector<uint8_t> arguments);

/// The compute capability that the machine stands for, 8 at first.
int& machine_capability();

/// Launches so far, by kernel.
std::map<std::string, int64_t> machine_launches();

}  // namespace gca::testing
