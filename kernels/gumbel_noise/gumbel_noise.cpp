#include "kernels/gumbel_noise/gumbel_noise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/philox.h"

namespace gca::kernels {

at::Tensor gumbel_noise(const GumbelCoordinates& at, int64_t B, int64_t R, int64_t C) {
  TORCH_CHECK(
      C <= int64_t{1} << 24 && at.first_query + R <= int64_t{1} << 22 && at.batch_offset + B <= 1 << 16,
      "gumbel_noise: more chunks or batch rows than its counters tell apart");
  at::Tensor noise = at::empty({B, R, C}, at::kFloat);
  auto* out = noise.mutable_data_ptr<float>();
  at::parallel_for(0, B * R, 8, [&](int64_t begin, int64_t end) {
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
  return noise;
}

}  // namespace gca::kernels
