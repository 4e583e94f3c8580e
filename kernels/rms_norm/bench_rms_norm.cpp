// Bandwidth of the norm with the residual sum before it, bf16 beside a float32 residual.
//   forward   reads residual and update, writes their sum and y
//   backward  reads dy, the sum and its gradient, writes both gradients
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include "kernels/common/bench_rate.h"
#include "kernels/rms_norm/rms_norm_versions.h"

namespace gca::kernels {
namespace {

constexpr double kForwardBytes = 4 + 2 + 4 + 2, kBackwardBytes = 2 + 4 + 4 + 4 + 2;  // an element

void BM_forward(benchmark::State& state, const ModelShape& shape) {
  const at::Tensor residual = at::randn({shape.positions, shape.d});
  const at::Tensor update = at::randn({shape.positions, shape.d}).to(at::kBFloat16);
  const at::Tensor weight = at::ones({shape.d});
  for (auto _ : state)
    benchmark::DoNotOptimize(rms_norm_forward_cpu(residual, update, weight, 1e-5, at::kBFloat16));
  report_bandwidth(state, kForwardBytes * static_cast<double>(shape.positions * shape.d));
}
void BM_backward(benchmark::State& state, const ModelShape& shape) {
  const at::Tensor x = at::randn({shape.positions, shape.d}), dsum = at::randn({shape.positions, shape.d});
  const at::Tensor dy = at::randn({shape.positions, shape.d}).to(at::kBFloat16);
  const at::Tensor weight = at::ones({shape.d});
  const at::Tensor inverse_rms = at::ones({shape.positions});
  for (auto _ : state)
    benchmark::DoNotOptimize(rms_norm_backward_cpu(dsum, dy, x, weight, inverse_rms, at::kBFloat16));
  report_bandwidth(state, kBackwardBytes * static_cast<double>(shape.positions * shape.d));
}
BENCHMARK_CAPTURE(BM_forward, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_forward, 128m, k128mShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_backward, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_backward, 128m, k128mShape)->UseRealTime();

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
