#pragma once
// A few launches on the PTX machine over vectors of the host.

#include <span>
#include <string>
#include <vector>

#include "tests/cuda/kernel_module.h"
#include "tests/ptx_machine/machine.h"

namespace gca::testing {

class OnMachine {
 public:
  explicit OnMachine(ptx::RunOptions run_options = {}) : options_(run_options) {}

  template <class T>
  const T* in(const char* name, const std::vector<T>& data) {
    return memory.add(name, std::span<const T>(data), ptx::Access::read_only);
  }
  /// To be written before it is read.
  template <class T>
  T* out(const char* name, std::vector<T>& data) {
    return memory.add(name, std::span<T>(data), ptx::Access::write_first);
  }
  template <class T>
  T* in_out(const char* name, std::vector<T>& data) {
    return memory.add(name, std::span<T>(data), ptx::Access::read_write);
  }

  template <class... Parameters>
  void launch(const std::string& file, const std::string& kernel, const cuda::LaunchShape& shape,
              const Parameters&... parameters) {
    const ptx::Outcome outcome = run_logged(file, kernel, launch_of(shape, parameters...), memory, options_);
    reports += outcome.reports_text();
    counters += outcome.counters;
  }

  ptx::GlobalMemory memory;
  std::string reports;
  ptx::Counters counters;

 private:
  ptx::RunOptions options_;
};

}  // namespace gca::testing
