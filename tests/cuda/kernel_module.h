#pragma once
// The PTX of the project's kernels, translated once a test program.

#include <map>
#include <memory>
#include <string>

#include "kernels/common/cuda/launch_shape.h"
#include "lib/core/mapped_file.h"
#include "tests/ptx_machine/machine.h"

namespace gca::testing {

/// The kernel of build/ptx/FILE.ptx whose name contains `name`.
inline const ptx::Program& cuda_kernel(const std::string& file, const std::string& name) {
  static std::map<std::string, std::shared_ptr<const ptx::Module>> modules;
  static std::map<std::string, ptx::Program> programs;
  const auto known = programs.find(file + name);
  if (known != programs.end()) return known->second;
  std::shared_ptr<const ptx::Module>& module = modules[file];
  if (module == nullptr) {
    const gca::MappedFile text(std::string(GCA_PTX_DIR) + "/" + file + ".ptx");
    module = std::make_shared<ptx::Module>(
        ptx::parse({reinterpret_cast<const char*>(text.data()), text.size_bytes()}));
  }
  return programs.emplace(file + name, ptx::translate(module, name)).first->second;
}

template <class... Parameters>
ptx::Launch launch_of(const gca::cuda::LaunchShape& shape, const Parameters&... parameters) {
  return {{shape.grid_x, shape.grid_y, shape.grid_z}, {shape.threads, 1, 1}, shape.shared_bytes, ptx::arguments(parameters...)};
}

}  // namespace gca::testing
