#pragma once
// What the assembler says of a kernel (`ptxas -v`, written beside the objects by the build).

#include <string>
#include <vector>

namespace gca::testing {

struct KernelResources {
  std::string kernel;        // mangled
  std::string architecture;  // "sm_80"
  int registers = 0;
  int spilled_bytes = 0;
};

/// Every kernel of every architecture of build/cuda/FILE.o.
std::vector<KernelResources> kernel_resources(const std::string& file);

/// The one whose name contains `kernel`.
KernelResources resources_of(const std::string& file, const std::string& kernel,
                             const std::string& architecture = "sm_80");

}  // namespace gca::testing
