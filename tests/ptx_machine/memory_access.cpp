#include "tests/ptx_machine/memory_access.h"

#include <algorithm>
#include <cstring>

namespace ptx {
namespace {

// Stamp of a global access, in 64 bits: block + 1 (32), warp (5), lane (5), clock (22).
constexpr uint64_t kClockMask = (1 << 22) - 1;

uint64_t global_stamp(const Warp& w, int lane) {
  return (w.block.linear_index + 1) << 32 | uint64_t{w.number} << 27 | static_cast<uint64_t>(lane) << 22 |
         (w.clock & kClockMask);
}

/// Whether the access behind `stamp` is ordered before the one that `lane` makes now.
bool is_seen(const Warp& w, int lane, uint64_t stamp) {
  if (stamp == 0) return true;
  if (stamp >> 32 != w.block.linear_index + 1) return false;
  const auto warp = static_cast<uint32_t>(stamp >> 27 & 31);
  if ((stamp & kClockMask) <= w.seen[warp]) return true;
  return warp == w.number && static_cast<int>(stamp >> 22 & 31) == lane;
}

void check_global_races(Warp& w, GlobalMemory::Buffer& buffer, int lane, uint64_t address, uint64_t offset,
                        uint32_t bytes, GlobalUse use, const uint8_t* new_value) {
  const uint64_t mine = global_stamp(w, lane);
  const bool reads = use == GlobalUse::read || use == GlobalUse::read_non_coherent;
  const bool changes = use == GlobalUse::write && std::memcmp(buffer.data + offset, new_value, bytes) != 0;
  bool race = false;
  for (uint64_t cell = offset / 4; cell <= (offset + bytes - 1) / 4; ++cell) {
    uint64_t& written = buffer.write_shadow[cell];
    uint64_t& read = buffer.read_shadow[cell];
    if (reads) {
      race = race || !is_seen(w, lane, written) || (use == GlobalUse::read_non_coherent && written != 0);
      read = mine;
    } else {
      const bool ordered = is_seen(w, lane, written) && is_seen(w, lane, read);
      // Accesses of less than a cell by neighbours meet in one cell without a race.
      if (use == GlobalUse::write && !ordered && changes && bytes >= 4) race = true;
      if (use == GlobalUse::write) written = mine;
    }
  }
  if (race) w.report(Fault::global_race, lane, address, "an unordered access touches the same memory");
}

struct SectorSet {
  std::array<uint64_t, 2 * kWarpSize> sectors;
  size_t count = 0;

  bool insert(uint64_t sector) {
    for (size_t i = count; i > 0; --i) {
      if (sectors[i - 1] == sector) return false;
    }
    sectors[count++] = sector;
    return true;
  }
};

}  // namespace

void access_global(Warp& w, uint32_t lanes, const LaneAddresses& addresses, uint32_t bytes, GlobalUse use,
                   const LanePointers* new_values, LanePointers& pointers) {
  GlobalMemory& memory = w.block.state.memory;
  const bool writes = use == GlobalUse::write || use == GlobalUse::atomic;
  SectorSet sectors;
  uint64_t last_sector = ~uint64_t{0};
  GlobalMemory::Buffer* buffer = nullptr;
  uint64_t buffer_of = ~uint64_t{0};
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const auto i = static_cast<size_t>(lane);
    const uint64_t address = addresses[i];
    pointers[i] = nullptr;
    if (address >> GlobalMemory::kOffsetBits != buffer_of) {
      buffer = memory.find(address);
      buffer_of = address >> GlobalMemory::kOffsetBits;
    }
    const uint64_t offset = GlobalMemory::offset_of(address);
    if (buffer == nullptr || offset + bytes > buffer->size) {
      w.report(Fault::out_of_bounds, lane, address, memory.describe(address));
      continue;
    }
    if (address % bytes != 0) {
      w.report(Fault::misaligned, lane, address,
               memory.describe(address) + ", access of " + std::to_string(bytes));
      continue;
    }
    if (writes && buffer->access == Access::read_only) {
      w.report(Fault::write_to_read_only, lane, address, memory.describe(address));
      continue;
    }
    if (!buffer->written.empty()) {
      uint8_t* written = buffer->written.data() + offset;
      if (use == GlobalUse::write) {
        std::memset(written, 1, bytes);
      } else if (std::memchr(written, 0, bytes) != nullptr) {
        w.report(Fault::uninitialised_memory, lane, address, memory.describe(address));
        std::memset(written, 1, bytes);
      }
    }
    if (!buffer->write_shadow.empty()) {
      check_global_races(w, *buffer, lane, address, offset, bytes, use,
                         new_values == nullptr ? nullptr : (*new_values)[i]);
    }
    pointers[i] = reinterpret_cast<uint8_t*>(buffer->data) + offset;
    // At once, so that the next lane's check compares with it.
    if (use == GlobalUse::write) std::memcpy(pointers[i], (*new_values)[i], bytes);
    const uint64_t sector = address / 32;
    if (sector != last_sector) {
      last_sector = sector;
      sectors.insert(sector);
      const uint64_t index = offset / 32;
      if (use != GlobalUse::write) buffer->read_sectors[index / 64] |= uint64_t{1} << (index % 64);
      if (writes) buffer->written_sectors[index / 64] |= uint64_t{1} << (index % 64);
    }
  }
  ++w.counters().global_accesses;
  (writes ? w.counters().global_store_sectors : w.counters().global_load_sectors) += sectors.count;
}

bool check_shared(Warp& w, int lane, uint64_t address, uint32_t bytes) {
  if (address < static_cast<uint64_t>(kSharedBase) ||
      address + bytes > static_cast<uint64_t>(w.block.shared.size())) {
    w.report(
        Fault::out_of_bounds, lane, address,
        "shared memory is " + std::to_string(kSharedBase) + " to " + std::to_string(w.block.shared.size()));
    return false;
  }
  if (address % bytes != 0) {
    w.report(Fault::misaligned, lane, address, "shared access of " + std::to_string(bytes));
    return false;
  }
  return true;
}

void report_shared(Warp& w, int lane, uint64_t address, SharedMemory::Verdict verdict) {
  switch (verdict) {
    case SharedMemory::Verdict::ok:
      return;
    case SharedMemory::Verdict::uninitialised:
      return w.report(Fault::uninitialised_memory, lane, address, "shared memory that was never written");
    case SharedMemory::Verdict::race:
      return w.report(Fault::shared_race, lane, address,
                      "an unordered access touches the same shared memory");
    case SharedMemory::Verdict::in_flight:
      return w.report(Fault::async_in_flight, lane, address,
                      "shared memory that a copy not waited for is writing");
    case SharedMemory::Verdict::read_in_flight:
      return w.report(Fault::async_in_flight, lane, address,
                      "shared memory that a wgmma not waited for is reading");
    case SharedMemory::Verdict::unfenced:
      return w.report(Fault::missing_fence, lane, address,
                      "written through the generic proxy, read by wgmma, and no fence.proxy.async between");
  }
}

void count_wavefronts(Warp& w, uint32_t lanes, const LaneAddresses& addresses, uint32_t bytes) {
  const uint32_t grain = std::max<uint32_t>(bytes, 4);
  const uint32_t groups = 128 / grain;         // of banks
  const int phase = static_cast<int>(groups);  // lanes of a phase
  for (int first = 0; first < kWarpSize; first += phase) {
    std::array<uint64_t, kWarpSize> keys;
    std::array<uint8_t, kWarpSize> in_group{};
    uint32_t distinct = 0, worst = 0;
    for (int lane = first; lane < first + phase; ++lane) {
      if ((lanes >> lane & 1) == 0) continue;
      const uint64_t key = addresses[static_cast<size_t>(lane)] / grain;
      const uint64_t group = key % groups;
      bool known = distinct > 0 && keys[distinct - 1] == key;
      if (!known && in_group[group] > 0) {
        for (uint32_t i = 0; i < distinct && !known; ++i) known = keys[i] == key;
      }
      if (known) continue;
      keys[distinct++] = key;
      worst = std::max<uint32_t>(worst, ++in_group[group]);
    }
    w.counters().shared_wavefronts += worst;
    w.counters().shared_wavefronts_least += (distinct + groups - 1) / groups;
  }
}

}  // namespace ptx
