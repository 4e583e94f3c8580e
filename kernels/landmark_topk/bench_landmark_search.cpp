// Landmark search at the lengths of a long memory: one query (decoding) is bound by reading the landmarks or
// their copy, many (prefill) by the products.

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
  const bool with_copy = state.range(3) != 0;
  std::vector<gca::kernels::LandmarkPart> landmarks = {{at::randn({1, C, d})}};
  gca::kernels::CoarseLandmarks copy(d, C);
  if (with_copy) {
    copy.append(landmarks[0].rows.const_data_ptr<float>(), C / gca::kernels::kCoarseRun);
    landmarks[0].coarse = copy.runs(0, copy.run_count());
  }
  for (auto _ : state) {
    auto choice =
        gca::kernels::landmark_search(query, landmarks, C + R, 8, 1 / std::sqrt(static_cast<double>(d)));
    benchmark::DoNotOptimize(choice.idx);
  }
  gca::kernels::report_rate(state, 2.0 * static_cast<double>(R * C * d));
  const double element_bytes = with_copy ? 1.0 : 4.0;
  state.counters["GB/s"] = benchmark::Counter(
      1e-9 * element_bytes * static_cast<double>(C * d) * static_cast<double>(state.iterations()),
      benchmark::Counter::kIsRate);
}

}  // namespace

// 1M and 16M tokens in chunks of 63, d of mini and of 128m; in float32 and with the int8 copy.
BENCHMARK(bench)
    ->ArgNames({"R", "C", "d", "copy"})
    ->ArgsProduct({{1, 128}, {16644, 266305}, {128}, {0, 1}})
    ->ArgsProduct({{1, 128}, {16644}, {768}, {0, 1}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

BENCHMARK_MAIN();
