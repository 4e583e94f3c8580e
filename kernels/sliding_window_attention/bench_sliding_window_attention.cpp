// Rate of sliding-window attention, one thread. Counted: 2 products of dh forward, 5 backward, for each head
// and each pair of a query and a key that it sees; masked pairs of a tile and what a version repeats are not counted.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>

#include "kernels/common/bench_rate.h"
#include "kernels/sliding_window_attention/sliding_window_attention.h"

namespace {

struct Case {
  at::Tensor q, k, v, slopes;
  int64_t window;
  double scale;
  double product_operations;  // of one product, over all heads and visible pairs
};

/// Heads of 64, `past` positions before the queries.
Case make_case(int64_t past, int64_t positions, int64_t window, at::ScalarType type, int64_t heads = 4) {
  constexpr int64_t head_dim = 64;
  Case c;
  c.window = window;
  c.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  c.q = at::randn({1, positions, heads, head_dim}).to(type);
  c.k = at::randn({1, past + positions, heads, head_dim}).to(type);
  c.v = at::randn({1, past + positions, heads, head_dim}).to(type);
  c.slopes = at::full({heads}, 0.01);
  int64_t pairs = 0;
  for (int64_t i = 0; i < positions; ++i) pairs += std::min(past + i, window) + 1;
  c.product_operations = 2.0 * static_cast<double>(pairs * heads * head_dim);
  return c;
}

void run_forward(benchmark::State& state, const Case& c) {
  at::set_num_threads(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        gca::kernels::sliding_window_attention_forward(c.q, c.k, c.v, c.slopes, c.window, c.scale));
  }
  gca::kernels::report_rate(state, 2 * c.product_operations);
}

void run_backward(benchmark::State& state, const Case& c) {
  at::set_num_threads(1);
  const auto [out, lse] =
      gca::kernels::sliding_window_attention_forward(c.q, c.k, c.v, c.slopes, c.window, c.scale);
  const at::Tensor dout = at::randn(out.sizes()).to(out.scalar_type());
  for (auto _ : state) {
    benchmark::DoNotOptimize(gca::kernels::sliding_window_attention_backward(dout, c.q, c.k, c.v, out, lse,
                                                                             c.slopes, c.window, c.scale));
  }
  gca::kernels::report_rate(state, 5 * c.product_operations);
}

void BM_forward(benchmark::State& state, at::ScalarType type) {
  run_forward(state, make_case(0, 2048, state.range(0), type));
}
void BM_backward(benchmark::State& state, at::ScalarType type) {
  run_backward(state, make_case(0, 2048, state.range(0), type));
}
// A training step of small (H = 4, W = 256) and 128m (H = 12, W = 512).
void BM_step_forward(benchmark::State& state) {
  run_forward(state, make_case(0, 4096, state.range(1), at::kBFloat16, state.range(0)));
}
void BM_step_backward(benchmark::State& state) {
  run_backward(state, make_case(0, 4096, state.range(1), at::kBFloat16, state.range(0)));
}
// One position after a full window.
void BM_decode(benchmark::State& state, at::ScalarType type) {
  run_forward(state, make_case(state.range(0), 1, state.range(0), type));
}

BENCHMARK_CAPTURE(BM_forward, float, at::kFloat)->Arg(256)->Arg(512);
BENCHMARK_CAPTURE(BM_forward, bfloat16, at::kBFloat16)->Arg(256)->Arg(512);
BENCHMARK_CAPTURE(BM_backward, float, at::kFloat)->Arg(256)->Arg(512);
BENCHMARK_CAPTURE(BM_backward, bfloat16, at::kBFloat16)->Arg(256)->Arg(512);
BENCHMARK(BM_step_forward)->ArgNames({"heads", "window"})->Args({4, 256})->Args({12, 512});
BENCHMARK(BM_step_backward)->ArgNames({"heads", "window"})->Args({4, 256})->Args({12, 512});
BENCHMARK_CAPTURE(BM_decode, float, at::kFloat)->Arg(512);
BENCHMARK_CAPTURE(BM_decode, bfloat16, at::kBFloat16)->Arg(512);

}  // namespace

BENCHMARK_MAIN();
