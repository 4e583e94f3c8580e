// Bandwidth of rotary positions over chunks of S = 64, bf16: one tensor read, one written.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include "kernels/common/bench_rate.h"
#include "kernels/rotary/rotary.h"

namespace gca::kernels {
namespace {

void BM_rotary(benchmark::State& state, const ModelShape& shape) {
  constexpr int64_t kChunk = 64;
  const at::NoGradGuard no_grad;
  const at::Tensor x =
      at::randn({shape.positions / kChunk, kChunk, shape.heads, shape.d / shape.heads}).to(at::kBFloat16);
  for (auto _ : state) benchmark::DoNotOptimize(rotary(x, 10000.0));
  report_bandwidth(state, 2.0 * 2 * static_cast<double>(x.numel()));
}
BENCHMARK_CAPTURE(BM_rotary, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_rotary, 128m, k128mShape)->UseRealTime();

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
