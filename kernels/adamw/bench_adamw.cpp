// Bandwidth of an AdamW update of all weights with their bf16 copies (weight, gradient and two moments read,
// weight, moments and copy written), and of the gradients' norm (read once).
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <benchmark/benchmark.h>

#include "kernels/adamw/adamw.h"
#include "kernels/common/bench_rate.h"

namespace gca::kernels {
namespace {

void BM_update(benchmark::State& state, const ModelShape& shape) {
  const int64_t count = shape.parameters;
  const AdamWUpdate update{at::randn({count}),
                           at::randn({count}),
                           at::zeros({count}),
                           at::zeros({count}),
                           at::zeros({count}, at::kBFloat16),
                           1e-3};
  for (auto _ : state) adamw_step({&update, 1}, {.step = 10});
  report_bandwidth(state, (4 * 4 + 3 * 4 + 2) * static_cast<double>(count));
}
void BM_gradient_norm(benchmark::State& state, const ModelShape& shape) {
  const std::vector<at::Tensor> gradients = {at::randn({shape.parameters})};
  for (auto _ : state) benchmark::DoNotOptimize(gradient_norm(gradients));
  report_bandwidth(state, 4.0 * static_cast<double>(shape.parameters));
}
BENCHMARK_CAPTURE(BM_update, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_update, 128m, k128mShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_gradient_norm, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_gradient_norm, 128m, k128mShape)->UseRealTime();

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
