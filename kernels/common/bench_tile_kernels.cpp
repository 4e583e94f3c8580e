// Rates of tile functions on operands in the first-level cache, one thread: what the fused kernels could
// reach at best (products), and what else a tile costs. All on tiles of 64 x 64.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>

#include "kernels/common/bench_rate.h"
#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {
namespace {

constexpr int64_t kSize = 64;
constexpr int64_t kElements = kSize * kSize;

struct Tiles {
  alignas(64) float x[kElements], y[kElements], c[kElements], row[kSize];
  alignas(64) uint16_t a[kElements], b[kElements], d[kElements];

  Tiles() {
    for (int64_t i = 0; i < kElements; ++i) {
      x[i] = y[i] = c[i] = static_cast<float>(i % 7) - 3.0F;
      a[i] = b[i] = d[i] = static_cast<uint16_t>(0x3F00 + i % 100);
    }
    std::fill_n(row, kSize, 1.0F);
  }
};

template <typename Body>
void measure(benchmark::State& state, const char* name, double operations, Body body) {
  const auto memory = std::make_unique<Tiles>();
  Tiles& tiles = *memory;
  for (auto _ : state) {
    body(tiles);
    benchmark::ClobberMemory();
  }
  state.SetLabel(name);
  if (operations > 0) report_rate(state, operations);
}

constexpr double kProductOperations = 2.0 * kSize * kSize * kSize;

void BM_float_product(benchmark::State& state) {
  const TileKernels& kernels = tile_kernels();
  measure(state, kernels.name, kProductOperations, [&](Tiles& t) {
    kernels.product(kSize, kSize, kSize, t.x, kSize, 1, t.y, kSize, t.c, kSize, false, nullptr);
  });
}
BENCHMARK(BM_float_product);

void BM_float_exponential(benchmark::State& state) {
  const TileKernels& kernels = tile_kernels();
  measure(state, kernels.name, 0,
          [&](Tiles& t) { kernels.exponential(kSize, kSize, t.x, kSize, 0.1F, t.row, t.c); });
}
BENCHMARK(BM_float_exponential);

void BM_float_largest_score(benchmark::State& state) {
  const TileKernels& kernels = tile_kernels();
  measure(state, kernels.name, 0,
          [&](Tiles& t) { kernels.largest_score(kSize, kSize, t.x, kSize, 0.1F, t.row); });
}
BENCHMARK(BM_float_largest_score);

void BM_float_window_score(benchmark::State& state) {
  const TileKernels& kernels = tile_kernels();
  measure(state, kernels.name, 0,
          [&](Tiles& t) { kernels.window_score(kSize, kSize, t.x, kSize, 0.1F, 0.1F, 100, 500, t.row); });
}
BENCHMARK(BM_float_window_score);

void BM_float_transpose(benchmark::State& state) {
  const TileKernels& kernels = tile_kernels();
  measure(state, kernels.name, 0, [&](Tiles& t) { kernels.transpose(kSize, kSize, t.x, kSize, t.y, kSize); });
}
BENCHMARK(BM_float_transpose);

/// Calls `body(kernels, tiles)` where the processor multiplies bf16.
template <typename Body>
void measure_bf16(benchmark::State& state, double operations, Body body) {
  const Bf16TileKernels* kernels = bf16_tile_kernels();
  if (kernels == nullptr) {
    state.SkipWithError("this processor does not multiply bf16");
    return;
  }
  measure(state, kernels->name, operations, [&](Tiles& t) { body(*kernels, t); });
}

void BM_bf16_product(benchmark::State& state) {
  measure_bf16(state, kProductOperations, [](const Bf16TileKernels& kernels, Tiles& t) {
    const ProductSegment segment{t.a, kSize, t.b, kSize, kSize};
    kernels.product(kSize, kSize, {&segment, 1}, {.sums = t.c, .stride = kSize});
  });
}
BENCHMARK(BM_bf16_product);

void BM_bf16_product_of_16_columns(benchmark::State& state) {
  measure_bf16(state, kProductOperations / 4, [](const Bf16TileKernels& kernels, Tiles& t) {
    const ProductSegment segment{t.a, kSize, t.b, kSize, kSize};
    kernels.product(kSize, kTileColumns, {&segment, 1}, {.sums = t.c, .stride = kSize});
  });
}
BENCHMARK(BM_bf16_product_of_16_columns);

void BM_bf16_exponential_right(benchmark::State& state) {
  measure_bf16(state, 0, [](const Bf16TileKernels& kernels, Tiles& t) {
    kernels.exponential_right(kSize, kSize, t.x, kSize, 0.1F, t.row, t.row, t.a);
  });
}
BENCHMARK(BM_bf16_exponential_right);

void BM_bf16_exponential_and_product(benchmark::State& state) {
  measure_bf16(state, 0, [](const Bf16TileKernels& kernels, Tiles& t) {
    kernels.exponential_and_product(kSize, kSize, t.x, t.y, kSize, 0.1F, t.row, t.c, t.c + kSize);
  });
}
BENCHMARK(BM_bf16_exponential_and_product);

void BM_bf16_score_gradient(benchmark::State& state) {
  measure_bf16(state, 0, [](const Bf16TileKernels& kernels, Tiles& t) {
    kernels.score_gradient(kSize, kSize, t.x, t.y, kSize, t.row, t.row, t.a, t.b, t.d);
  });
}
BENCHMARK(BM_bf16_score_gradient);

void BM_bf16_window_score_gradient(benchmark::State& state) {
  measure_bf16(state, 0, [](const Bf16TileKernels& kernels, Tiles& t) {
    kernels.window_score_gradient(kSize, kSize, t.x, t.y, kSize, 0.1F, 0.1F, 100, 500, t.row, t.row, t.a, t.b,
                                  t.d);
  });
}
BENCHMARK(BM_bf16_window_score_gradient);

using Pack = void (*)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, uint16_t* to,
                      int64_t to_stride);
void BM_bf16_pack(benchmark::State& state, Pack Bf16TileKernels::*pack) {
  measure_bf16(state, 0, [&](const Bf16TileKernels& kernels, Tiles& t) {
    (kernels.*pack)(kSize, kSize, t.a, kSize, t.b, kSize);
  });
}
BENCHMARK_CAPTURE(BM_bf16_pack, left_from_rows, &Bf16TileKernels::left_from_rows);
BENCHMARK_CAPTURE(BM_bf16_pack, left_from_columns, &Bf16TileKernels::left_from_columns);
BENCHMARK_CAPTURE(BM_bf16_pack, right_from_rows, &Bf16TileKernels::right_from_rows);
BENCHMARK_CAPTURE(BM_bf16_pack, right_from_columns, &Bf16TileKernels::right_from_columns);

}  // namespace
}  // namespace gca::kernels

BENCHMARK_MAIN();
