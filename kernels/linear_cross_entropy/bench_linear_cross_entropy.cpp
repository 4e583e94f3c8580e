// Rate of the output projection with its loss and both gradients: three products of rows x d x V.
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/common/bench_rate.h"
#include "kernels/linear_cross_entropy/linear_cross_entropy.h"

namespace gca::kernels {
namespace {

void BM_loss_and_gradients(benchmark::State& state, const ModelShape& shape) {
  const at::Tensor x = at::randn({shape.positions, shape.d}).to(at::kBFloat16).requires_grad_();
  const at::Tensor master = at::randn({shape.vocabulary, shape.d}).mul_(0.1).requires_grad_();
  const at::Tensor compute = master.detach().to(at::kBFloat16);
  const at::Tensor targets = at::randint(0, shape.vocabulary, {shape.positions}, at::kLong);
  for (auto _ : state) benchmark::DoNotOptimize(linear_cross_entropy(x, master, compute, targets));
  report_rate(state, 6.0 * static_cast<double>(shape.positions * shape.d * shape.vocabulary));
}
BENCHMARK_CAPTURE(BM_loss_and_gradients, small, kSmallShape)->UseRealTime();
BENCHMARK_CAPTURE(BM_loss_and_gradients, 128m, k128mShape)->UseRealTime();

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
