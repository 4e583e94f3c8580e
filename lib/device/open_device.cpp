#include "lib/device/open_device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <dlfcn.h>
#include <fmt/format.h>

#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace gca::device {
namespace {

/// Loads a library for the rest of the process.
void load(const std::string& library, const std::string& why, const std::string& advice) {
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* reason = dlerror();
  fail_run("--device cuda", why + " (" + (reason == nullptr ? library : reason) + ")", advice);
}

c10::Device open_cuda(int local_rank, const CudaLibraries& libraries) {
  load(libraries.driver, "there is no NVIDIA driver on this machine",
       "install the driver of the GPU, or use --device cpu");
  load(libraries.torch, "LibTorch's CUDA part or a library that it needs cannot be loaded",
       "install them with ./dev cuda, or use --device cpu");
  load(libraries.kernels, "this build has no CUDA kernels",
       "build with nvcc in reach (cmake -DGCA_CUDA=ON), or use --device cpu");
  const int gpus = at::detail::getCUDAHooks().getNumGPUs();
  if (gpus == 0)
    fail_run("--device cuda", "the driver shows no GPU", "check nvidia-smi, or use --device cpu");
  require_gpu(local_rank, gpus);
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(local_rank));
  c10::impl::getDeviceGuardImpl(c10::kCUDA)->setDevice(device);
  // Sums of bf16 products stay in float32, as on the CPU.
  at::globalContext().setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false, /*allow_splitk=*/false);
  return device;
}

}  // namespace

void require_gpu(int local_rank, int gpus) {
  if (local_rank < 0)
    fail_usage("--device cuda", "the launcher does not say which of its machine's GPUs a rank may take",
               "set LOCAL_RANK to its number among the ranks of its machine");
  if (local_rank >= gpus)
    fail_usage("--device cuda",
               fmt::format("a machine has {} or more ranks, and shows each of them {}", local_rank + 1,
                           counted(gpus, "GPU")),
               "start as many ranks on a machine as it has GPUs, and let each see all of them");
}

c10::Device open_device(const std::string& name, const std::string& dtype, int local_rank,
                        const CudaLibraries& libraries) {
  if (name == "cpu") return c10::kCPU;
  if (dtype != "bf16")
    fail_usage("--dtype " + dtype, "the CUDA kernels compute in bf16", "leave it out, or use --device cpu");
  return open_cuda(local_rank, libraries);
}

}  // namespace gca::device
