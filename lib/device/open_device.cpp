#include "lib/device/open_device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <dlfcn.h>

#include "lib/core/error.h"

namespace gca::device {
namespace {

/// Loads a library for the rest of the process.
void load(const std::string& library, const std::string& why, const std::string& advice) {
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* reason = dlerror();
  fail_run("--device cuda", why + " (" + (reason == nullptr ? library : reason) + ")", advice);
}

void open_cuda(const CudaLibraries& libraries) {
  load(libraries.driver, "there is no NVIDIA driver on this machine",
       "install the driver of the GPU, or use --device cpu");
  load(libraries.torch, "LibTorch's CUDA part or a library that it needs cannot be loaded",
       "install them with ./dev cuda, or use --device cpu");
  load(libraries.kernels, "this build has no CUDA kernels",
       "build with nvcc in reach (cmake -DGCA_CUDA=ON), or use --device cpu");
  if (at::detail::getCUDAHooks().getNumGPUs() == 0)
    fail_run("--device cuda", "the driver shows no GPU", "check nvidia-smi, or use --device cpu");
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  // Sums of bf16 products stay in float32, as on the CPU.
  at::globalContext().setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false, /*allow_splitk=*/false);
}

}  // namespace

c10::Device open_device(const std::string& name, const std::string& dtype, const CudaLibraries& libraries) {
  if (name == "cpu") return c10::kCPU;
  if (dtype != "bf16")
    fail_usage("--dtype " + dtype, "the CUDA kernels compute in bf16", "leave it out, or use --device cpu");
  open_cuda(libraries);
  return {c10::kCUDA, 0};
}

}  // namespace gca::device
