// Ranks on devices of the PTX machine. In NCCL's place stands a Gloo of its own over the memory that tensors live in.
#include <ATen/ops/from_blob.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels/common/cuda/nccl_backend.h"
#include "lib/parallel/connect_devices.h"
#include "lib/parallel/open_communicator.h"
#include "tests/cuda/machine_device.h"
#include "tests/parallel/ranks_under_test.h"

namespace gca::testing {
namespace {

using Work = c10::intrusive_ptr<c10d::Work>;

/// Messages as one piece of work, done after it has been looked at some times, as a device's.
class MachineWork final : public c10d::Work {
 public:
  explicit MachineWork(std::vector<testing::Work> messages) : messages_(std::move(messages)) {}
  bool isCompleted() override { return ++looks_ > 3; }
  bool wait(std::chrono::milliseconds timeout) override {
    for (const testing::Work& message : messages_) message->wait(timeout);
    return true;
  }

 private:
  std::vector<testing::Work> messages_;
  int looks_ = 0;
};

/// Takes messages between startCoalescing() and endCoalescing() only, from its own device only, whatever their tags.
class MachineBackend final : public c10d::Backend {
 public:
  explicit MachineBackend(const cuda::NcclRequest& request)
      : Backend(request.rank, request.size),
        device_(request.device),
        host_(parallel::open_communicator(request.store, request.rank, request.size,
                                          {.message = request.timeout})) {}

  void startCoalescing() override { is_open_ = true; }
  Work endCoalescing() override {
    is_open_ = false;
    return c10::make_intrusive<MachineWork>(std::exchange(messages_, {}));
  }
  Work send(std::vector<at::Tensor>& tensors, int to, int /*tag*/) override {
    std::vector<at::Tensor> values = {memory_of(tensors)};
    return keep(host_->backend()->send(values, to, 0));
  }
  Work recv(std::vector<at::Tensor>& tensors, int from, int /*tag*/) override {
    std::vector<at::Tensor> values = {memory_of(tensors)};
    return keep(host_->backend()->recv(values, from, 0));
  }

 private:
  at::Tensor memory_of(const std::vector<at::Tensor>& tensors) const {
    if (!is_open_) throw std::logic_error("a message by itself");
    const at::Tensor& x = tensors.at(0);
    if (x.device() != device_ || !x.is_contiguous()) throw std::logic_error("not a message of this device");
    return at::from_blob(
        x.data_ptr(), x.sizes(), [x](void*) {}, x.options().device(at::kCPU));
  }
  Work keep(Work message) {
    messages_.push_back(message);
    return message;
  }

  at::Device device_;
  std::unique_ptr<parallel::Communicator> host_;
  bool is_open_ = false;
  std::vector<Work> messages_;
};

}  // namespace

at::Device connected_device(parallel::Communicator& communicator) {
  const at::Device device = machine_device(communicator.rank());
  parallel::connect_devices(communicator, device);
  return device;
}

}  // namespace gca::testing

/// Found by connect_devices() in this program, as it finds that of the device library.
extern "C" [[gnu::visibility("default")]] void gca_open_nccl(const gca::cuda::NcclRequest& request,
                                                             c10::intrusive_ptr<c10d::Backend>& backend) {
  backend = c10::make_intrusive<gca::testing::MachineBackend>(request);
}
