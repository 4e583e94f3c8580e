#pragma once
// Shared memory of a block, and who touched it when.
//
// Every cell (the smallest access of the kernel, at most 4 bytes) remembers its last write and, for each
// warp, its last read, each stamped with the lane and the warp's clock. A clock ticks whenever the warp
// synchronises with others. A warp knows for every other warp up to which of its ticks it has been
// synchronised (`seen`); an access that meets a conflicting one which it has not seen is a race. Lanes of one
// warp are ordered by bar.warp.sync, which ticks the clock.
//
// Bytes on their way by an asynchronous copy are marked in flight until the copying thread has waited for
// them; bytes that wgmma reads, until each of its warps has waited for it.
//
// wgmma reads through the async proxy: what was written by st or cp.async (the generic proxy) is only there
// when a fence.proxy.async lies on the path of synchronisation from the writing thread to the reading one.
// `fenced` says of each warp up to which of its ticks that holds.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace ptx {

constexpr uint32_t kMaxWarps = 32;

/// What a warp has seen of the others: clock values, its own entry is its clock less one.
using SeenClocks = std::array<uint32_t, kMaxWarps>;

class SharedMemory {
 public:
  enum class Verdict { ok, uninitialised, race, in_flight, read_in_flight, unfenced };
  struct Accessor {
    uint32_t warp, lane, clock;
    const SeenClocks* seen;
  };

  SharedMemory(int64_t size_bytes, uint32_t warps, int cell_bytes);

  /// Forgets everything for a new block; clocks of the warps must start at the value returned.
  uint32_t begin_block();

  int64_t size() const { return static_cast<int64_t>(data_.size()); }
  uint8_t* data() { return data_.data(); }

  // Checks of an access to [offset, offset + bytes), which also leave its stamps. Data is the caller's
  // matter, but for writes: `value` is what will be written; writing what is there already is not a race.
  Verdict read(const Accessor& who, uint32_t offset, uint32_t bytes);
  Verdict write(const Accessor& who, uint32_t offset, uint32_t bytes, const uint8_t* value);
  Verdict atomic(const Accessor& who, uint32_t offset, uint32_t bytes);
  /// A write by hardware on behalf of the warp (cp.async): as by its lane, in flight until landed().
  Verdict begin_async_write(const Accessor& who, uint32_t offset, uint32_t bytes);
  void landed(const Accessor& who, uint32_t offset, uint32_t bytes);
  /// A read by wgmma for the whole warp, in flight until end_async_read(), which leaves the stamp of a read.
  Verdict begin_async_read(const Accessor& who, const SeenClocks& fenced, uint32_t offset, uint32_t bytes);
  void mark_async_read(uint32_t warp, uint32_t offset, uint32_t bytes);
  void end_async_read(const Accessor& who, uint32_t offset, uint32_t bytes);

 private:
  // Stamp of a write: in flight (1 bit), clock (20), warp (5), lane (5), atomic (1).
  // Stamp of a read: clock, lane (6 bits, kSeveralLanes for more than one).
  static constexpr uint32_t kInFlight = 0x80000000;
  static constexpr uint32_t kClockLimit = 1U << 20;
  static constexpr uint32_t kSeveralLanes = 32;

  static uint32_t write_stamp(const Accessor& who) { return who.clock << 11 | who.warp << 6 | who.lane << 1; }
  Verdict check_after_write(const Accessor& who, uint32_t stamp) const;
  bool reads_are_seen(const Accessor& who, uint32_t cell) const;
  Verdict check_before_write(const Accessor& who, uint32_t cell) const;

  std::vector<uint8_t> data_;
  std::vector<uint32_t> writes_;              // a cell each
  std::vector<std::vector<uint32_t>> reads_;  // [warp][cell]
  std::vector<uint32_t> async_readers_;       // of a cell: warps whose wgmma reads it; empty before the first
  int cell_shift_;
  uint32_t first_clock_ = 1;  // of this block; older stamps are of blocks before it
  uint32_t highest_clock_ = 1;
};

}  // namespace ptx
