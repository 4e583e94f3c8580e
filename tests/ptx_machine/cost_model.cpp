#include "tests/ptx_machine/cost_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace ptx {
namespace {

std::array<std::pair<const char*, double>, 7> terms(const Cycles& c) {
  return {{{"tensor", c.tensor},
           {"issue", c.issue},
           {"shared", c.shared},
           {"L2", c.l2},
           {"fp32", c.fp32},
           {"integer", c.integer},
           {"special", c.special}}};
}

auto largest_term(const Cycles& c) {
  const auto all = terms(c);
  return *std::max_element(all.begin(), all.end(),
                           [](const auto& a, const auto& b) { return a.second < b.second; });
}

}  // namespace

double Cycles::largest() const {
  return largest_term(*this).second;
}
const char* Cycles::name_of_largest() const {
  return largest_term(*this).first;
}

Cycles cycles_of(const Counters& counters, const Gpu& gpu) {
  const auto slots = [&](Unit unit) {
    return static_cast<double>(counters.unit_slots[static_cast<size_t>(unit)]);
  };
  Cycles cycles;
  cycles.issue = static_cast<double>(counters.issue_slots) / Gpu::kIssueRate;
  cycles.fp32 = slots(Unit::fp32) / gpu.fp32_rate;
  cycles.integer = slots(Unit::integer) / Gpu::kIntegerRate;
  cycles.special = slots(Unit::special_function) / Gpu::kSpecialRate;
  cycles.tensor = static_cast<double>(counters.tensor_macs) / gpu.tensor_macs;
  if (counters.warpgroup_macs > 0)
    cycles.tensor += static_cast<double>(counters.warpgroup_macs) / gpu.warpgroup_macs;
  cycles.shared = static_cast<double>(counters.shared_wavefronts);
  cycles.l2 = 32.0 * static_cast<double>(counters.global_load_sectors + counters.global_store_sectors) /
              gpu.l2_bytes_per_cycle();
  return cycles;
}

int blocks_at_once(const Gpu& gpu, int registers, int64_t shared_bytes, int threads) {
  // Registers are given out in units of 256 a warp, shared memory with 1 KiB for the system.
  const int warps = (threads + 31) / 32;
  const double registers_of_block = std::ceil(registers * 32 / 256.0) * 256 * warps;
  double blocks = std::min({32.0, gpu.threads / threads, gpu.registers / registers_of_block,
                            gpu.shared_bytes / static_cast<double>(shared_bytes + 1024)});
  return static_cast<int>(blocks);
}

double modelled_seconds(const Counters& counters, double blocks, double dram_bytes, const Gpu& gpu) {
  const double cycles_of_block = cycles_of(counters, gpu).largest() / static_cast<double>(counters.blocks);
  const double busy = std::ceil(blocks / gpu.multiprocessors) * cycles_of_block / (gpu.clock_ghz * 1e9);
  return std::max(busy, dram_bytes / gpu.dram_bytes_per_second);
}

}  // namespace ptx
