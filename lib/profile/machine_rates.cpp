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
#include "lib/core/seconds_since.h"

namespace gca::profile {
namespace {

constexpr int64_t kSize = 1024;

template <class Work>
double best_seconds(int runs, const Work& work) {
  double best = 0.0;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const double seconds = seconds_since(start);
    best = run == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

}  // namespace

MachineRates::MachineRates(at::ScalarType compute_type)
    : factor_(at::randn({kSize, kSize}).to(compute_type)) {}  // numbers that differ, as a model's do

void MachineRates::measure_products() {
  const at::NoGradGuard no_grad;
  constexpr int kRuns = 6;
  constexpr double kFlops = 2.0 * kSize * kSize * kSize;
  const at::ScalarType type = factor_.scalar_type();
  double seconds = best_seconds(kRuns, [&] { kernels::matrix_product(factor_, factor_, type); });
  const bool library_is_fast = type != at::kBFloat16 || kernels::cpu_multiplies_bf16();
  if (library_is_fast) seconds = std::min(seconds, best_seconds(kRuns, [&] { at::mm(factor_, factor_); }));
  flops_per_second_ = std::max(flops_per_second_, kFlops / seconds);
}

void MachineRates::measure_reads() {
  const at::NoGradGuard no_grad;
  constexpr int64_t kBytes = int64_t{512} << 20;
  constexpr int64_t kRows = kBytes / kSize / static_cast<int64_t>(sizeof(float));
  constexpr int kRuns = 3;
  // A matrix times a vector reads each row once, one after another: the fastest stream of loads found.
  if (!matrix_.defined()) matrix_ = at::ones({kRows, kSize}, at::kFloat);
  const at::Tensor vector = at::ones({1, kSize}, at::kFloat);
  const double seconds = best_seconds(kRuns, [&] { kernels::linear_few_rows(vector, matrix_, at::kFloat); });
  bytes_per_second_ = std::max(bytes_per_second_, static_cast<double>(kBytes) / seconds);
}

}  // namespace gca::profile
