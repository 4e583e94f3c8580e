// Rate of grouped cross-attention, one thread. Counted: 2 products of positions x M x dh forward, 5 backward,
// for each head and slot; what a version repeats is not counted.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cmath>

#include "kernels/common/bench_rate.h"
#include "kernels/grouped_cross_attention/grouped_cross_attention.h"

namespace {

using gca::kernels::ReadingLayout;

struct Case {
  at::Tensor q, k, v, idx, w;
  ReadingLayout layout;
  double scale;
  double product_operations;  // of one product, over all heads and slots
};

/// One sequence of `chunks` chunks of S = 64 positions and M keys, heads of 64; every chunk reads K earlier ones.
Case make_case(int64_t chunks, int64_t positions, int64_t slots, int64_t keys, int64_t kv_heads,
               at::ScalarType type, int64_t heads = 4) {
  constexpr int64_t head_dim = 64, chunk_size = 64;
  Case c;
  c.layout = {chunk_size, 0};
  c.scale = 1 / std::sqrt(static_cast<double>(head_dim));
  c.q = at::randn({1, positions, heads, head_dim}).to(type);
  c.k = at::randn({1, chunks, keys, kv_heads, head_dim}).to(type);
  c.v = at::randn({1, chunks, keys, kv_heads, head_dim}).to(type);
  const int64_t rows = (positions + chunk_size - 1) / chunk_size;
  c.idx = at::randint(0, chunks, {1, rows, slots}, at::kInt);
  c.w = at::full({1, rows, slots}, 1.0 / static_cast<double>(slots));
  c.product_operations = 2.0 * static_cast<double>(positions * heads * slots * keys * head_dim);
  return c;
}

void run_forward(benchmark::State& state, const Case& c) {
  at::set_num_threads(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        gca::kernels::grouped_cross_attention_forward(c.q, c.k, c.v, c.idx, c.w, c.layout, c.scale, true));
  }
  gca::kernels::report_rate(state, 2 * c.product_operations);
}

void run_backward(benchmark::State& state, const Case& c) {
  at::set_num_threads(1);
  const auto [out, lse] =
      gca::kernels::grouped_cross_attention_forward(c.q, c.k, c.v, c.idx, c.w, c.layout, c.scale, true);
  const at::Tensor dout = at::randn(out.sizes()).to(out.scalar_type());
  for (auto _ : state) {
    benchmark::DoNotOptimize(gca::kernels::grouped_cross_attention_backward(dout, c.q, c.k, c.v, c.idx, c.w,
                                                                            lse, c.layout, c.scale, true));
  }
  gca::kernels::report_rate(state, 5 * c.product_operations);
}

// Sequences of 16 chunks, K = 8; 63 keys a chunk as in the model.
void BM_forward(benchmark::State& state, at::ScalarType type, int64_t kv_heads) {
  run_forward(state, make_case(16, 1024, 8, 63, kv_heads, type));
}
void BM_backward(benchmark::State& state, at::ScalarType type, int64_t kv_heads) {
  run_backward(state, make_case(16, 1024, 8, 63, kv_heads, type));
}
// A training step of small and 128m: 64 chunks, K = 8.
void BM_step_forward(benchmark::State& state) {
  run_forward(state, make_case(64, 4096, 8, 63, state.range(0), at::kBFloat16, state.range(0)));
}
void BM_step_backward(benchmark::State& state) {
  run_backward(state, make_case(64, 4096, 8, 63, state.range(0), at::kBFloat16, state.range(0)));
}
// The chunk encoder's use: each chunk reads one, 64 keys.
void BM_encoder_forward(benchmark::State& state, at::ScalarType type) {
  run_forward(state, make_case(16, 1024, 1, 64, 4, type));
}
void BM_encoder_backward(benchmark::State& state, at::ScalarType type) {
  run_backward(state, make_case(16, 1024, 1, 64, 4, type));
}
// One position of a long text.
void BM_decode(benchmark::State& state, at::ScalarType type) {
  run_forward(state, make_case(256, 1, 8, 63, 4, type));
}

BENCHMARK_CAPTURE(BM_forward, float, at::kFloat, 4);
BENCHMARK_CAPTURE(BM_forward, bfloat16, at::kBFloat16, 4);
BENCHMARK_CAPTURE(BM_forward, float_shared_kv, at::kFloat, 1);
BENCHMARK_CAPTURE(BM_backward, float, at::kFloat, 4);
BENCHMARK_CAPTURE(BM_backward, bfloat16, at::kBFloat16, 4);
BENCHMARK_CAPTURE(BM_backward, float_shared_kv, at::kFloat, 1);
BENCHMARK(BM_step_forward)->ArgName("heads")->Arg(4)->Arg(12);
BENCHMARK(BM_step_backward)->ArgName("heads")->Arg(4)->Arg(12);
BENCHMARK_CAPTURE(BM_encoder_forward, float, at::kFloat);
BENCHMARK_CAPTURE(BM_encoder_backward, float, at::kFloat);
BENCHMARK_CAPTURE(BM_encoder_forward, bfloat16, at::kBFloat16);
BENCHMARK_CAPTURE(BM_encoder_backward, bfloat16, at::kBFloat16);
BENCHMARK_CAPTURE(BM_decode, float, at::kFloat);
BENCHMARK_CAPTURE(BM_decode, bfloat16, at::kBFloat16);

}  // namespace

BENCHMARK_MAIN();
