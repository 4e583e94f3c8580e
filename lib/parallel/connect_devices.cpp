#include "lib/parallel/connect_devices.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <dlfcn.h>
#include <fmt/format.h>

#include "kernels/common/cuda/nccl_backend.h"
#include "lib/core/error.h"
#include "lib/parallel/agreement.h"

namespace gca::parallel {
namespace {

/// The loaded device library's.
cuda::OpenNccl* find_nccl() {
  void* const found = dlsym(RTLD_DEFAULT, cuda::kOpenNccl);
  if (found == nullptr)
    fail_run("--device cuda", "this build has no NCCL, over which GPUs exchange messages",
             "build with nccl.h in reach (./dev cuda), or start one process");
  return reinterpret_cast<cuda::OpenNccl*>(found);
}

}  // namespace

void connect_devices(Communicator& communicator, c10::Device device) {
  cuda::OpenNccl* open = nullptr;
  succeed_together(&communicator, [&] { open = find_nccl(); });
  const cuda::NcclRequest request{c10::make_intrusive<c10d::PrefixStore>("nccl", communicator.store()),
                                  communicator.rank(), communicator.size(), device,
                                  communicator.backend()->getBackendOptions()->timeout};
  c10::intrusive_ptr<c10d::Backend> backend;
  succeed_together(&communicator, [&] {
    try {
      open(request, backend);
    } catch (const std::exception& error) {
      fail_run(fmt::format("rank {}", communicator.rank()),
               fmt::format("its GPU cannot be connected with those of the others ({})", reason_of(error)),
               "give each rank a GPU of its own; NCCL_DEBUG=WARN says more");
    }
  });
  communicator.set_device_backend(std::move(backend));
}

}  // namespace gca::parallel
