#pragma once
// From counts to time: a model, no measurement. A launch takes as long as its busiest resource: the counts of
// that resource over its rate, blocks dealt evenly to the multiprocessors. There is no term for latency, so
// it is a bound from below, good for telling which resource limits a kernel and for comparing two kernels.
//
// PTX is not what the hardware executes. The counts leave out what the assembler makes vanish (moves, address
// sums, parameters) and count what it expands (divisions, ex2 without .ftz, 64-bit integers).

#include <cstdint>

#include "tests/ptx_machine/counters.h"

namespace ptx {

/// Rates of one multiprocessor are a cycle's, in instructions of a warp unless said otherwise.
struct Gpu {
  const char* name;
  double multiprocessors;
  double clock_ghz;
  double fp32_rate;
  double tensor_macs;     // multiply-adds of mma.sync on bfloat16
  double warpgroup_macs;  // of wgmma; 0 where there is none
  double dram_bytes_per_second;
  double registers = 65536;
  double shared_bytes;  // of a multiprocessor, all blocks
  double threads = 2048;

  static constexpr double kIssueRate = 4;
  static constexpr double kIntegerRate = 2;
  static constexpr double kSpecialRate = 0.5;
  static constexpr double kL2OverDram = 2.5;

  double l2_bytes_per_cycle() const {  // of one multiprocessor's share
    return kL2OverDram * dram_bytes_per_second / multiprocessors / (clock_ghz * 1e9);
  }
};

constexpr Gpu kA100{"A100", 108, 1.41, 2, 1024, 0, 2.0e12, 65536, 164 * 1024, 2048};
/// mma.sync reaches about 0.62 of what wgmma does.
constexpr Gpu kH100{"H100", 132, 1.755, 4, 0.62 * 2048, 2048, 3.35e12, 65536, 228 * 1024, 2048};

/// Cycles of one multiprocessor for counts that are all its own.
struct Cycles {
  double issue = 0, fp32 = 0, integer = 0, special = 0, tensor = 0, shared = 0, l2 = 0;

  double largest() const;
  const char* name_of_largest() const;
};
Cycles cycles_of(const Counters& counters, const Gpu& gpu);

/// Blocks that one multiprocessor holds at once.
int blocks_at_once(const Gpu& gpu, int registers, int64_t shared_bytes, int threads);

/// Time of `blocks` blocks like those that were counted; `dram_bytes` of the whole launch.
double modelled_seconds(const Counters& counters, double blocks, double dram_bytes, const Gpu& gpu);

}  // namespace ptx
