// NCCL on the one GPU of ./dev test-gpu, as lib/parallel uses it: a group of one rank, whose messages are to itself.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include <chrono>

#include "lib/parallel/connect_devices.h"
#include "lib/parallel/open_communicator.h"
#include "tests/cuda/device_under_test.h"
#include "tests/support/doctest.h"

using namespace gca;
using namespace gca::testing;

TEST_CASE("one rank opens NCCL, gathers and sums what it has itself, and sends nothing") {
  const at::Device device = device_under_test();
  const auto communicator = parallel::open_communicator(c10::make_intrusive<c10d::HashStore>(), 0, 1,
                                                        {.message = std::chrono::seconds(30)});
  parallel::connect_devices(*communicator, device);
  const at::Tensor x = at::full({4, 3}, 2.5, at::TensorOptions(at::kFloat).device(device));
  CHECK(at::equal(communicator->all_gather(x, "parts"), x.unsqueeze(0)));
  CHECK(at::equal(communicator->all_to_all(std::vector{x}, "parts").front(), x));
  CHECK(at::equal(communicator->ordered_all_reduce(x, "sums"), x));
  CHECK(at::equal(communicator->ordered_reduce_scatter(x.to(at::kBFloat16), "sums"), x));
  CHECK(communicator->bytes_sent() == 0);
}

TEST_CASE("several messages over NCCL are one piece of work, which arrives") {
  const at::Device device = device_under_test();
  const auto communicator = parallel::open_communicator(c10::make_intrusive<c10d::HashStore>(), 0, 1,
                                                        {.message = std::chrono::seconds(30)});
  parallel::connect_devices(*communicator, device);
  c10d::Backend& nccl = *communicator->device_backend();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kLong}) {
    const auto options = at::TensorOptions(type).device(device);
    std::vector<at::Tensor> sent = {at::full({1 << 20}, 7, options)};
    std::vector<at::Tensor> also_sent = {at::full({5}, 9, options)};
    std::vector<at::Tensor> received = {at::zeros({1 << 20}, options)};
    std::vector<at::Tensor> also_received = {at::zeros({5}, options)};
    nccl.startCoalescing();
    nccl.recv(received, 0, 0);
    nccl.send(sent, 0, 0);
    nccl.recv(also_received, 0, 0);
    nccl.send(also_sent, 0, 0);
    const auto work = nccl.endCoalescing();
    REQUIRE(work);
    CHECK(work->wait());
    CHECK(at::equal(received[0], sent[0]));
    CHECK(at::equal(also_received[0], also_sent[0]));
  }
}
