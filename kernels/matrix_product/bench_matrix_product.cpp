// Products of the shapes of a training step, own and the library's, bf16, both threads of the process.
//   forward   y = x W^T      input gradient   dx = dy W      weight gradient   dW = dy^T x (float32)
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include "kernels/common/bench_rate.h"
#include "kernels/matrix_product/matrix_product.h"

namespace {

enum class Which { forward, input_gradient, weight_gradient };

void BM_product(benchmark::State& state, Which which, bool own) {
  const auto rows = state.range(0), in = state.range(1), out = state.range(2);
  const at::Tensor x = at::randn({rows, in}).to(at::kBFloat16), w = at::randn({out, in}).to(at::kBFloat16);
  const at::Tensor dy = at::randn({rows, out}).to(at::kBFloat16);
  const at::Tensor a = which == Which::forward ? x : which == Which::input_gradient ? dy : dy.t();
  const at::Tensor b = which == Which::forward ? w.t() : which == Which::input_gradient ? w : x;
  const auto type = which == Which::weight_gradient ? at::kFloat : at::kBFloat16;
  for (auto _ : state)
    benchmark::DoNotOptimize(own ? gca::kernels::matrix_product(a, b, type) : at::mm(a, b).to(type));
  gca::kernels::report_rate(state, 2.0 * static_cast<double>(rows * in * out));
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "in", "out"})->UseRealTime();
  bench->Args({4096, 256, 256})->Args({4096, 256, 704})->Args({4096, 704, 256});    // small
  bench->Args({4096, 768, 768})->Args({4096, 768, 2048})->Args({4096, 2048, 768});  // 128m
  bench->Args({512, 768, 32000});                                                   // its head
}

BENCHMARK_CAPTURE(BM_product, forward_own, Which::forward, true)->Apply(shapes);
BENCHMARK_CAPTURE(BM_product, forward_library, Which::forward, false)->Apply(shapes);
BENCHMARK_CAPTURE(BM_product, input_gradient_own, Which::input_gradient, true)->Apply(shapes);
BENCHMARK_CAPTURE(BM_product, input_gradient_library, Which::input_gradient, false)->Apply(shapes);
BENCHMARK_CAPTURE(BM_product, weight_gradient_own, Which::weight_gradient, true)->Apply(shapes);
BENCHMARK_CAPTURE(BM_product, weight_gradient_library, Which::weight_gradient, false)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
