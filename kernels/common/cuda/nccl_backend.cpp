#include "kernels/common/cuda/nccl_backend.h"

#include <cstdlib>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

extern "C" [[gnu::visibility("default")]] void gca_open_nccl(const gca::cuda::NcclRequest& request,
                                                             c10::intrusive_ptr<c10d::Backend>& backend) {
  // What fails is thrown where it is waited for; else a thread of the backend would end the process.
  setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = request.timeout;
  auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(request.store, request.rank, request.size, options);
  // Now, with all ranks: later, two could wait here for the others.
  nccl->eagerConnectSingleDevice(request.device);
  backend = std::move(nccl);
}
