// What is said where a GPU is asked for and something is missing.
#include "lib/device/open_device.h"

#include "tests/support/doctest.h"
#include "tests/support/error_of.h"

using namespace gca;

TEST_CASE("--device cpu needs nothing") {
  const device::CudaLibraries nothing{"libnone-driver.so", "libnone-torch.so", "libnone-kernels.so"};
  CHECK(device::open_device("cpu", "fp32", 0, nothing) == c10::Device(c10::kCPU));
}

TEST_CASE("--device cuda names what is missing: driver, LibTorch's part, kernels") {
  // Any library that is there stands for one that is.
  const std::string there = "libm.so.6";
  const device::CudaLibraries no_driver{"libnone-driver.so", there, there};
  const device::CudaLibraries no_torch{there, "libnone-torch.so", there};
  const device::CudaLibraries no_kernels{there, there, "libnone-kernels.so"};
  const device::CudaLibraries no_gpu{there, there, there};
  const auto error = [](const device::CudaLibraries& libraries) {
    return error_of([&] { device::open_device("cuda", "bf16", 0, libraries); }).value();
  };
  CHECK(error(no_driver).says("no NVIDIA driver"));
  CHECK(error(no_driver).says("libnone-driver.so"));
  CHECK(error(no_torch).says("libnone-torch.so"));
  CHECK(error(no_torch).says("./dev cuda"));
  CHECK(error(no_kernels).says("no CUDA kernels"));
  CHECK(error(no_kernels).says("libnone-kernels.so"));
  CHECK(error(no_gpu).says("the driver shows no GPU"));
  for (const device::CudaLibraries& libraries : {no_driver, no_torch, no_kernels, no_gpu})
    CHECK(error(libraries).says("--device cpu"));
}

TEST_CASE("the CUDA kernels compute in bf16 only") {
  const auto error = error_of([] { device::open_device("cuda", "fp32"); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("--dtype fp32"));
}

TEST_CASE("each rank of a machine needs a GPU of its own") {
  for (const int local_rank : {0, 1, 2, 3}) CHECK_NOTHROW(device::require_gpu(local_rank, 4));
  const auto error = error_of([] { device::require_gpu(4, 4); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("has 5 or more ranks, and shows each of them 4 GPUs"));
  const auto one = error_of([] { device::require_gpu(1, 1); });
  REQUIRE(one);
  CHECK(one->says("shows each of them 1 GPU;"));
  const auto unknown = error_of([] { device::require_gpu(-1, 4); });
  REQUIRE(unknown);
  CHECK(unknown->is_usage());
  CHECK(unknown->says("LOCAL_RANK"));
}
