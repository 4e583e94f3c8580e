// Landmark search at the lengths of a long memory: one query (decoding) is bound by reading the landmarks,
// many (prefill) by the products.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "kernels/common/bench_rate.h"
#include "kernels/landmark_topk/landmark_search.h"

namespace {

void bench(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const int64_t R = state.range(0), C = state.range(1), d = state.range(2);
  const at::Tensor query = at::randn({1, R, d});
  const std::vector<at::Tensor> landmarks = {at::randn({1, C, d})};
  for (auto _ : state) {
    auto choice =
        gca::kernels::landmark_search(query, landmarks, C + R, 8, 1 / std::sqrt(static_cast<double>(d)));
    benchmark::DoNotOptimize(choice.idx);
  }
  gca::kernels::report_rate(state, 2.0 * static_cast<double>(R * C * d));
  state.counters["GB/s"] =
      benchmark::Counter(4e-9 * static_cast<double>(C * d) * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}

}  // namespace

// 1M and 16M tokens in chunks of 63, d of mini and of 128m.
BENCHMARK(bench)
    ->ArgNames({"R", "C", "d"})
    ->Args({1, 16644, 128})
    ->Args({1, 266305, 128})
    ->Args({128, 16644, 128})
    ->Args({128, 266305, 128})
    ->Args({1, 16644, 768})
    ->Args({128, 16644, 768})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

BENCHMARK_MAIN();
