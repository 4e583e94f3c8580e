// Rate of the tile product on operands in the first-level cache, one thread: what the fused kernels could
// reach at best.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/common/bench_rate.h"
#include "kernels/common/tile_kernels.h"

namespace {

void BM_tile_product(benchmark::State& state) {
  const auto rows = state.range(0), columns = state.range(1), depth = state.range(2);
  const gca::kernels::TileKernels& kernels = gca::kernels::tile_kernels();
  std::vector<float> a(static_cast<size_t>(rows * depth), 0.5F),
      b(static_cast<size_t>(depth * columns), 0.5F);
  std::vector<float> c(static_cast<size_t>(rows * columns));
  for (auto _ : state) {
    kernels.product(rows, columns, depth, a.data(), depth, 1, b.data(), columns, c.data(), columns, false);
    benchmark::ClobberMemory();
  }
  state.SetLabel(kernels.name);
  gca::kernels::report_rate(state, 2.0 * static_cast<double>(rows * columns * depth));
}
BENCHMARK(BM_tile_product)->Args({64, 64, 64})->Args({63, 64, 64});

}  // namespace

BENCHMARK_MAIN();
