// What the benchmarks of the operators report beside the time.
#pragma once

#include <benchmark/benchmark.h>

namespace gca::kernels {

/// Adds the counter GFLOP/s: `operations` floating-point operations an iteration.
inline void report_rate(benchmark::State& state, double operations) {
  state.counters["GFLOP/s"] = benchmark::Counter(operations * static_cast<double>(state.iterations()) * 1e-9,
                                                 benchmark::Counter::kIsRate);
}

}  // namespace gca::kernels
