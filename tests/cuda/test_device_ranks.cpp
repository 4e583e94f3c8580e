// Ranks with a device each train what one process with a device trains, and send as much as ranks on the CPU.
#include <ATen/TensorOperators.h>

#include <cmath>
#include <vector>

#include "lib/parallel/connect_devices.h"
#include "lib/train/step/trainer.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/machine_device.h"
#include "tests/parallel/ranks_under_test.h"
#include "tests/support/as_ranks.h"
#include "tests/support/doctest.h"
#include "tests/support/tiny_training.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Run {
  std::vector<double> losses;
  std::vector<at::Tensor> initial, weights, moments;  // on the CPU
  int64_t bytes_sent = 0;                             // by rank 0, in all groups
};

std::vector<at::Tensor> copies_of(const model::LanguageModel& model) {
  std::vector<at::Tensor> copies;
  for (const model::Weight& weight : model.weights())
    copies.push_back(weight.master.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
  return copies;
}

/// Two steps, as rank 0 sees them; groups of `text_ranks` share their texts.
Run train_on(bool has_devices, int ranks, int text_ranks) {
  constexpr int kSteps = 2;
  Run run;
  as_ranks(ranks, [&](parallel::Communicator* communicator) {
    at::Device device = has_devices ? machine_device() : at::Device(at::kCPU);
    if (has_devices && communicator != nullptr) device = connected_device(*communicator);
    std::unique_ptr<parallel::Communicator> group;
    if (text_ranks > 1) {
      group = parallel::open_group(*communicator, text_ranks);
      if (has_devices) parallel::connect_devices(*group, device);
    }
    const auto bytes_sent = [&] {
      return (communicator == nullptr ? 0 : communicator->bytes_sent()) + (group ? group->bytes_sent() : 0);
    };
    const int64_t before = bytes_sent();
    model::LanguageModel model(device_config(), at::kBFloat16, device);
    model.initialise(1);
    model.refresh_compute_weights();
    const std::vector<at::Tensor> initial = copies_of(model);
    train::Trainer trainer(model, tiny_train_config(), copy_source(device_config()), 3, kSteps, communicator,
                           group.get());
    std::vector<double> losses;
    for (int64_t step = 0; step < kSteps; ++step)
      losses.push_back(trainer.make_step(step, 2 * step, /*look_at_retrieval=*/false).loss);
    const int64_t bytes = bytes_sent() - before;
    std::vector<at::Tensor> moments;
    for (size_t i = 0; i < model.weights().size(); ++i)
      moments.push_back(trainer.optimizer().moment(train::Moment::first, i));
    if (communicator != nullptr && communicator->rank() > 0) return;
    run.losses = losses;
    run.moments = moments;
    run.bytes_sent = bytes;
    run.initial = initial;
    run.weights = copies_of(model);
  });
  return run;
}

}  // namespace

TEST_CASE("ranks with a device each train what one process with a device trains") {
  const Run alone = train_on(true, 1, 1);
  for (const int text_ranks : {1, 2}) {
    CAPTURE(text_ranks);
    const Run shared = train_on(true, 2, text_ranks);
    for (size_t step = 0; step < alone.losses.size(); ++step)
      CHECK(shared.losses[step] == doctest::Approx(alone.losses[step]).epsilon(1e-3));
    for (size_t i = 0; i < alone.weights.size(); ++i) {
      CAPTURE(i);
      REQUIRE(shared.moments[i].device().is_cpu());
      const double size = alone.moments[i].norm().item<double>();
      CHECK((shared.moments[i] - alone.moments[i]).norm().item<double>() <= 0.02 * size + 1e-9);
      // AdamW moves a weight by the learning rate whatever its gradient, so those of tiny gradients part.
      const double moved = (alone.weights[i] - alone.initial[i]).norm().item<double>();
      CHECK((shared.weights[i] - alone.weights[i]).norm().item<double>() <= 0.3 * moved);
    }
    CHECK(shared.bytes_sent == train_on(false, 2, text_ranks).bytes_sent);
  }
}
