#include "lib/profile/machine_rates.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>

#include "kernels/matrix_product/matrix_product.h"
#include "lib/core/error.h"

namespace gca {
namespace {

template <class Work>
double best_seconds(int runs, const Work& work) {
  double best = 0.0;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = run == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

/// Several sums side by side, so that additions do not wait for each other and memory is what limits.
float sum_of(const float* x, int64_t begin, int64_t end) {
  constexpr int64_t kLanes = 64;
  std::array<float, kLanes> sums{};
  for (int64_t i = begin; i + kLanes <= end; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[static_cast<size_t>(lane)] += x[i + lane];
  float total = 0.0F;
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace

double measure_peak_flops(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kSize = 1024;
  constexpr int kRuns = 8;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  const at::Tensor a = at::ones({kSize, kSize}, dtype);
  return kFlops / best_seconds(kRuns, [&] { kernels::matrix_product(a, a, dtype); });
}

double measure_read_rate() {
  constexpr int64_t kBytes = int64_t{512} << 20;
  constexpr int64_t kCount = kBytes / static_cast<int64_t>(sizeof(float));
  constexpr int kRuns = 6;
  const at::Tensor buffer = at::ones({kCount}, at::kFloat);
  const float* x = buffer.const_data_ptr<float>();
  std::atomic<float> total{0.0F};
  const double seconds = best_seconds(kRuns, [&] {
    at::parallel_for(0, kCount, kCount / at::get_num_threads(),
                     [&](int64_t begin, int64_t end) { total = sum_of(x, begin, end); });
  });
  // The sum is used, so that the compiler cannot leave the reading out.
  if (total == 0.0F) fail_run("memory rate", "a sum of ones is 0");
  return static_cast<double>(kBytes) / seconds;
}

}  // namespace gca
