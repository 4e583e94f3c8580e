#include "kernels/gumbel_noise/gumbel_noise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/philox.h"

namespace gca::kernels {

namespace {

void fill_on_cpu(const GumbelCoordinates& at, at::Tensor& noise) {
  const int64_t R = noise.size(1);
  const int64_t C = noise.size(2);
  auto* out = noise.mutable_data_ptr<float>();
  at::parallel_for(0, noise.size(0) * R, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto batch = static_cast<uint64_t>(at.batch_offset + row / R);
      const auto query = static_cast<uint64_t>(at.first_query + row % R);
      const uint64_t base = static_cast<uint64_t>(at.group) << 60 | batch << 44 | query << 22;
      for (int64_t c = 0; c < C; c += 4) {
        const PhiloxBlock block =
            philox_block(at.seed, RandomStream::gumbel, at.step, base | static_cast<uint64_t>(c / 4));
        for (int64_t lane = 0; lane < std::min<int64_t>(4, C - c); ++lane)
          out[row * C + c + lane] = -std::log(-std::log(open_unit_float(block.word[lane])));
      }
    }
  });
}

TORCH_LIBRARY_FRAGMENT(gca, m) {
  m.def(
      "gumbel_noise_(Tensor(a!) noise, int seed, int step, int group, int batch_offset, int first_query) -> "
      "Tensor(a!)");
}

void fill_on_device(const GumbelCoordinates& at, at::Tensor& noise) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("gca::gumbel_noise_", "")
                             .typed<at::Tensor&(at::Tensor&, int64_t, int64_t, int64_t, int64_t, int64_t)>();
  op.call(noise, static_cast<int64_t>(at.seed), static_cast<int64_t>(at.step), at.group, at.batch_offset,
          at.first_query);
}

}  // namespace

at::Tensor gumbel_noise(const GumbelCoordinates& at, int64_t B, int64_t R, int64_t C, at::Device device) {
  TORCH_CHECK(
      C <= int64_t{1} << 24 && at.first_query + R <= int64_t{1} << 22 && at.batch_offset + B <= 1 << 16,
      "gumbel_noise: more chunks or batch rows than its counters tell apart");
  at::Tensor noise = at::empty({B, R, C}, at::TensorOptions(at::kFloat).device(device));
  if (device.is_cpu())
    fill_on_cpu(at, noise);
  else
    fill_on_device(at, noise);
  return noise;
}

}  // namespace gca::kernels
