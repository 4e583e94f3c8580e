#include "tests/cuda/device_under_test.h"
#include "tests/cuda/machine_device.h"
#include "tests/cuda/machine_memory.h"
#include "tests/support/doctest.h"

namespace gca::testing {

at::Device device_under_test() {
  return machine_device();
}

void stand_for_capability(int major) {
  machine_capability() = major;
}

void require_launched(std::initializer_list<const char*> kernels) {
  const std::map<std::string, int64_t> launches = machine_launches();
  for (const char* kernel : kernels) CHECK_MESSAGE(launches.contains(kernel), kernel);
}

}  // namespace gca::testing
