#pragma once
// A warp's access to memory: addresses of the lanes, checks, counts. The handlers of ld, st, atom, cp.async,
// ldmatrix and their like move the data where these functions point.

#include <array>
#include <cstdint>

#include "tests/ptx_machine/warp.h"

namespace ptx {

using LaneAddresses = std::array<uint64_t, kWarpSize>;
/// Host memory of each lane's access, null where the access is not allowed (and was reported) or the lane
/// does not take part.
using LanePointers = std::array<uint8_t*, kWarpSize>;

/// What an access does to global memory.
enum class GlobalUse { read, read_non_coherent, write, atomic };

/// Checks and counts. A write also moves the bytes `new_values`; writing what another thread has written is not a race.
void access_global(Warp& w, uint32_t lanes, const LaneAddresses& addresses, uint32_t bytes, GlobalUse use,
                   const LanePointers* new_values, LanePointers& pointers);

/// Bounds and alignment of a shared access; false and a report when it may not be made.
bool check_shared(Warp& w, int lane, uint64_t address, uint32_t bytes);
void report_shared(Warp& w, int lane, uint64_t address, SharedMemory::Verdict verdict);
/// Adds the wavefronts of one instruction: lanes go in phases of 128 bytes.
void count_wavefronts(Warp& w, uint32_t lanes, const LaneAddresses& addresses, uint32_t bytes);

/// Lane addresses of [register + offset].
template <bool kWide>
LaneAddresses lane_addresses(Warp& w, uint32_t base, int64_t offset) {
  LaneAddresses result{};
  const auto* registers = w.lanes<std::conditional_t<kWide, uint64_t, uint32_t>>(base);
  for (int i = 0; i < kWarpSize; ++i)
    result[static_cast<size_t>(i)] = registers[i] + static_cast<uint64_t>(offset);
  return result;
}

inline LaneAddresses same_address(uint64_t address) {
  LaneAddresses result;
  result.fill(address);
  return result;
}

}  // namespace ptx
