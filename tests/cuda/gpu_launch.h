#pragma once
// The launches of the kernel tests on a GPU, when there is one: the same PTX, through the driver, which is
// loaded at run time. The GPU checks nothing but the numbers, so there are no reports and no counts.

#include <string>

#include "tests/ptx_machine/machine.h"

namespace gca::testing {

/// Whether launches go to a GPU: GCA_TEST_GPU is set (./dev test-gpu does).
bool runs_on_gpu();
/// The first number of that GPU's compute capability.
int gpu_capability();

/// Runs kernel `entry` of a PTX file over buffers copied there and back. Throws std::runtime_error with the
/// driver's error.
void run_on_gpu(const std::string& ptx_file, const std::string& entry, const ptx::Launch& launch,
                ptx::GlobalMemory& memory);

}  // namespace gca::testing
