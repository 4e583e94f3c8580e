// Bandwidth of a matrix times a vector, as decoding does it, bf16 and int8: the weight is read once. The output
// projections of small (8 MB in bf16, in the last cache) and 128m (49 MB), and a matrix of 512 MB: the limit of
// memory.
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include "kernels/common/bench_rate.h"
#include "kernels/linear/linear_few_rows.h"

namespace gca::kernels {
namespace {

void BM_matrix_vector(benchmark::State& state) {
  const auto out = state.range(0), in = state.range(1);
  const at::Tensor x = at::randn({1, in}).to(at::kBFloat16), w = at::randn({out, in}).to(at::kBFloat16);
  for (auto _ : state) benchmark::DoNotOptimize(linear_few_rows(x, w, at::kFloat));
  report_bandwidth(state, 2.0 * static_cast<double>(w.numel()));
}

void BM_int8_matrix_vector(benchmark::State& state) {
  const auto out = state.range(0), in = state.range(1);
  const at::Tensor x = at::randn({1, in}).to(at::kBFloat16);
  const Int8Weight w = make_int8_weight(out, in);
  quantise_weight(at::randn({out, in}), w);
  for (auto _ : state) benchmark::DoNotOptimize(linear_few_rows(x, w, at::kFloat));
  report_bandwidth(state, static_cast<double>(w.q.nbytes() + w.scale.nbytes()));
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseRealTime()
      ->ArgNames({"out", "in"})
      ->Args({kSmallShape.vocabulary, kSmallShape.d})
      ->Args({k128mShape.vocabulary, k128mShape.d})
      ->Args({int64_t{1} << 18, 1024});
}
BENCHMARK(BM_matrix_vector)->Apply(shapes);
BENCHMARK(BM_int8_matrix_vector)->Apply(shapes);

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
