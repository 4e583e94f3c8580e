// What the benchmarks of the operators share: shapes and the rates they report beside the time.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

namespace gca::kernels {

/// Adds the counter GFLOP/s: `operations` floating-point operations an iteration.
inline void report_rate(benchmark::State& state, double operations) {
  state.counters["GFLOP/s"] = benchmark::Counter(operations * static_cast<double>(state.iterations()) * 1e-9,
                                                 benchmark::Counter::kIsRate);
}

/// Adds the counter GB/s: bytes that an iteration must read and write at least.
inline void report_bandwidth(benchmark::State& state, double size_bytes) {
  state.counters["GB/s"] = benchmark::Counter(size_bytes * static_cast<double>(state.iterations()) * 1e-9,
                                              benchmark::Counter::kIsRate);
}

/// Sizes of a training step of the presets small and 128m, 4096 positions.
struct ModelShape {
  int64_t positions, d, d_ff, heads, vocabulary, parameters;
};
inline constexpr ModelShape kSmallShape{4096, 256, 704, 4, 16384, 12885248};
inline constexpr ModelShape k128mShape{4096, 768, 2048, 12, 32000, 131953920};

}  // namespace gca::kernels
