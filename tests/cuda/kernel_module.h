#pragma once
// The PTX of the project's kernels, translated once a test program.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/cuda/launch_shape.h"
#include "lib/core/files/mapped_file.h"
#include "tests/cuda/gpu_launch.h"
#include "tests/ptx_machine/machine.h"

namespace gca::testing {

/// While it lives, one kernel runs without one of its synchronising instructions.
class DeletedSync {
 public:
  DeletedSync(std::string kernel, ptx::Program program)
      : kernel_(std::move(kernel)), program_(std::move(program)) {
    active() = this;
  }
  ~DeletedSync() { active() = nullptr; }
  DeletedSync(const DeletedSync&) = delete;
  DeletedSync& operator=(const DeletedSync&) = delete;

  static DeletedSync*& active() {
    static DeletedSync* mutation = nullptr;
    return mutation;
  }
  const ptx::Program* of(const std::string& kernel) const { return kernel == kernel_ ? &program_ : nullptr; }

 private:
  std::string kernel_;
  ptx::Program program_;
};

/// Names of the kernels that have run, in the order of their first run, for going over them again without their syncs.
inline std::vector<std::pair<std::string, std::string>>& kernels_run() {
  static std::vector<std::pair<std::string, std::string>> names;
  return names;
}

/// The kernel of build/ptx/FILE.ptx whose name contains `name`.
inline const ptx::Program& cuda_kernel(const std::string& file, const std::string& name) {
  static std::map<std::string, std::shared_ptr<const ptx::Module>> modules;
  static std::map<std::string, ptx::Program> programs;
  if (DeletedSync::active() != nullptr) {
    if (const ptx::Program* mutant = DeletedSync::active()->of(name)) return *mutant;
  }
  if (std::find(kernels_run().begin(), kernels_run().end(), std::pair(file, name)) == kernels_run().end())
    kernels_run().emplace_back(file, name);
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

/// Runs `body` (which returns the machine's reports) once for each synchronising instruction of each kernel
/// that it launches, without that instruction; those that nobody missed, as text.
template <class Body>
std::string unmissed_syncs(Body body) {
  if (runs_on_gpu()) return "";  // nothing there would tell
  kernels_run().clear();
  body();
  const auto kernels = kernels_run();
  std::string unmissed;
  for (const auto& [file, name] : kernels) {
    const ptx::Program& program = cuda_kernel(file, name);
    for (const size_t sync : program.syncs()) {
      const DeletedSync mutation(name, program.without(sync));
      if (body().empty()) unmissed += name + ": " + program.describe(program.code[sync]) + "\n";
    }
  }
  return unmissed;
}

/// What a launch did, for the table of costs.
struct LoggedLaunch {
  std::string file, kernel;
  ptx::Launch launch;
  ptx::Counters counters;
};
inline std::vector<LoggedLaunch>& launch_log() {
  static std::vector<LoggedLaunch> log;
  return log;
}

/// Runs a launch and adds it to the log; the machine's reports are returned. On a GPU
/// (tests/cuda/gpu_launch.h): neither.
inline ptx::Outcome run_logged(const std::string& file, const std::string& kernel, const ptx::Launch& launch,
                               ptx::GlobalMemory& memory, const ptx::RunOptions& options) {
  if (runs_on_gpu()) {
    run_on_gpu(std::string(GCA_PTX_DIR) + "/" + file + ".ptx", cuda_kernel(file, kernel).name, launch,
               memory);
    return {};
  }
  ptx::Outcome outcome = ptx::run(cuda_kernel(file, kernel), launch, memory, options);
  launch_log().push_back({file, kernel, launch, outcome.counters});
  return outcome;
}

template <class... Parameters>
ptx::Launch launch_of(const gca::cuda::LaunchShape& shape, const Parameters&... parameters) {
  return {{shape.grid_x, shape.grid_y, shape.grid_z},
          {shape.threads, 1, 1},
          shape.shared_bytes,
          ptx::arguments(parameters...)};
}

}  // namespace gca::testing
