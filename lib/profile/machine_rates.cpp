#include "lib/profile/machine_rates.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>

#include "kernels/common/cpu_features.h"
#include "kernels/linear/linear_few_rows.h"
#include "kernels/matrix_product/matrix_product.h"

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

}  // namespace

double measure_peak_flops(at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kSize = 1024;
  constexpr int kRuns = 8;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  const at::Tensor a = at::randn({kSize, kSize}).to(dtype);  // numbers that differ, as a model's do
  const double own_seconds = best_seconds(kRuns, [&] { kernels::matrix_product(a, a, dtype); });
  const bool library_is_fast = dtype != at::kBFloat16 || kernels::cpu_multiplies_bf16();
  const double library_seconds = library_is_fast ? best_seconds(kRuns, [&] { at::mm(a, a); }) : own_seconds;
  return kFlops / std::min(own_seconds, library_seconds);
}

double measure_read_rate() {
  constexpr int64_t kBytes = int64_t{512} << 20;
  constexpr int64_t kWidth = 1024;
  constexpr int64_t kRows = kBytes / kWidth / static_cast<int64_t>(sizeof(float));
  constexpr int kRuns = 6;
  // A matrix times a vector reads each row once, one after another: the fastest stream of loads found.
  const at::Tensor matrix = at::ones({kRows, kWidth}, at::kFloat);
  const at::Tensor vector = at::ones({1, kWidth}, at::kFloat);
  const at::NoGradGuard no_grad;
  const double seconds = best_seconds(kRuns, [&] { kernels::linear_few_rows(vector, matrix, at::kFloat); });
  return static_cast<double>(kBytes) / seconds;
}

}  // namespace gca
