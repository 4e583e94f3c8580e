#include "lib/train/peak_rate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>

#include "kernels/linear/linear.h"

namespace gca {

double measure_peak_flops(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kSize = 1024;
  constexpr int kRuns = 8;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  const at::Tensor a = at::ones({kSize, kSize}, dtype);
  double best = 0.0;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    kernels::matrix_product(a, a, dtype);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, kFlops / seconds);
  }
  return best;
}

}  // namespace gca
