// The start of training: normal(0, init_std) for every matrix and embedding, norms 1, biases 0, and for weights that
// have a start of their own that. A value is a pure function of (seed, number of the weight, place in it).

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>

#include "kernels/common/philox.h"
#include "lib/model/language_model.h"

namespace gca::model {
namespace {

/// Two independent standard normals from one block (Box and Muller).
std::pair<double, double> normal_pair(const PhiloxBlock& block) {
  const double radius = std::sqrt(-2.0 * std::log(open_unit_double(block.word[0], block.word[1])));
  const double angle = 2.0 * std::numbers::pi * open_unit_double(block.word[2], block.word[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

/// Values of a weight that has a start of its own.
at::Tensor start_values(const Weight& weight, uint64_t seed, uint64_t number) {
  at::Tensor values = at::empty(weight.master.sizes(), at::kDouble);
  auto* data = values.mutable_data_ptr<double>();
  for (int64_t place = 0; place < values.numel(); ++place)
    data[place] = weight.rules.start(
        place, philox_block(seed, RandomStream::initialisation, number, static_cast<uint64_t>(place)));
  return values;
}

}  // namespace

void LanguageModel::initialise(uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (size_t number = 0; number < weights_.size(); ++number) {
    Weight& weight = weights_[number];
    if (weight.rules.start) {
      weight.master.copy_(start_values(weight, seed, number));
      continue;
    }
    if (weight.master.dim() == 1) {
      weight.master.fill_(ends_with(weight.name, "_bias") ? 0.0 : 1.0);
      continue;
    }
    const bool writes_residual = ends_with(weight.name, ".wo") || ends_with(weight.name, ".w_down");
    const double deviation = config_->init_std * (writes_residual ? config_->output_init_scale : 1.0);
    const int64_t size = weight.master.numel();
    // The same numbers on every device.
    at::Tensor values = at::empty(weight.master.sizes(), weight.master.options().device(at::kCPU));
    AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "initialise", [&] {
      auto* data = values.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, (size + 1) / 2, 4096, [&](int64_t begin, int64_t end) {
        for (int64_t pair = begin; pair < end; ++pair) {
          const auto [first, second] = normal_pair(
              philox_block(seed, RandomStream::initialisation, number, static_cast<uint64_t>(pair)));
          data[2 * pair] = static_cast<scalar_t>(deviation * first);
          if (2 * pair + 1 < size) data[2 * pair + 1] = static_cast<scalar_t>(deviation * second);
        }
      });
    });
    weight.master.copy_(values);
  }
  refresh_compute_weights();
}

}  // namespace gca::model
