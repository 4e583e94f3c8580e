// Bandwidth of the SwiGLU gate, bf16: forward reads two and writes one, with its backward (three and two) as
// autograd runs them.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/common/bench_rate.h"
#include "kernels/swiglu/swiglu.h"

namespace gca::kernels {
namespace {

at::Tensor some_rows(const ModelShape& shape) {
  return at::randn({shape.positions, shape.d_ff}).to(at::kBFloat16);
}

void BM_forward(benchmark::State& state, const ModelShape& shape) {
  const at::NoGradGuard no_grad;
  const at::Tensor gate = some_rows(shape), up = some_rows(shape);
  for (auto _ : state) benchmark::DoNotOptimize(swiglu(gate, up));
  report_bandwidth(state, 3.0 * 2 * static_cast<double>(gate.numel()));
}
void BM_backward(benchmark::State& state, const ModelShape& shape) {
  const at::Tensor gate = some_rows(shape).requires_grad_(), up = some_rows(shape).requires_grad_();
  const at::Tensor y = swiglu(gate, up), dy = at::randn_like(y);
  for (auto _ : state)
    benchmark::DoNotOptimize(torch::autograd::grad({y}, {gate, up}, {dy}, /*retain_graph=*/true));
  report_bandwidth(state, 5.0 * 2 * static_cast<double>(gate.numel()));
}
BENCHMARK_CAPTURE(BM_forward, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_forward, 128m, k128mShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_backward, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_backward, 128m, k128mShape)->UseRealTime();

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
