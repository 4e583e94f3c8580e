#pragma once
// What a launch did, summed over its warps. cost_model.h turns it into time.

#include <array>
#include <cstdint>

#include "tests/ptx_machine/program.h"

namespace ptx {

struct Counters {
  uint64_t blocks = 0;
  uint64_t warp_instructions = 0;
  uint64_t thread_instructions = 0;
  uint64_t issue_slots = 0;                      // of the schedulers
  std::array<uint64_t, kUnits> unit_slots = {};  // issue slots by unit
  uint64_t tensor_macs = 0;                      // multiply-adds of mma.sync
  uint64_t warpgroup_macs = 0;                   // multiply-adds of wgmma
  uint64_t shared_wavefronts = 0;                // of 128 bytes, conflicts included
  uint64_t shared_wavefronts_least = 0;          // had there been no conflict
  uint64_t global_load_sectors = 0;              // of 32 bytes: what goes to L2
  uint64_t global_store_sectors = 0;
  uint64_t global_accesses = 0;  // warp instructions
  uint64_t shuffles = 0;
  uint64_t barriers = 0;         // arrivals of warps
  uint64_t dram_read_bytes = 0;  // distinct sectors of the whole launch
  uint64_t dram_write_bytes = 0;

  Counters& operator+=(const Counters& other);
};

}  // namespace ptx
