#include "tests/ptx_machine/shared_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ptx {

SharedMemory::SharedMemory(int64_t size_bytes, uint32_t warps, int cell_bytes)
    : data_(static_cast<size_t>(size_bytes)),
      cell_shift_(std::countr_zero(static_cast<unsigned>(cell_bytes))) {
  const size_t cells = (data_.size() >> cell_shift_) + 1;
  writes_.assign(cells, 0);
  reads_.assign(warps, std::vector<uint32_t>(cells, 0));
}

uint32_t SharedMemory::begin_block() {
  first_clock_ = highest_clock_ + 1;
  if (first_clock_ > kClockLimit / 2) {
    std::fill(writes_.begin(), writes_.end(), 0);
    for (auto& reads : reads_) std::fill(reads.begin(), reads.end(), 0);
    first_clock_ = 1;
  }
  highest_clock_ = first_clock_;
  std::fill(async_readers_.begin(), async_readers_.end(), 0);
  return first_clock_;
}

SharedMemory::Verdict SharedMemory::check_after_write(const Accessor& who, uint32_t stamp) const {
  const uint32_t clock = (stamp & ~kInFlight) >> 11;
  if (clock < first_clock_) return Verdict::uninitialised;
  if ((stamp & kInFlight) != 0) return Verdict::in_flight;
  const uint32_t warp = stamp >> 6 & 31;
  if (clock <= (*who.seen)[warp]) return Verdict::ok;
  if (warp == who.warp && (stamp >> 1 & 31) == who.lane) return Verdict::ok;
  return Verdict::race;
}

SharedMemory::Verdict SharedMemory::read(const Accessor& who, uint32_t offset, uint32_t bytes) {
  const uint32_t first = offset >> cell_shift_;
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  const uint32_t* writes = writes_.data();
  Verdict verdict = Verdict::ok;
  // Cells of one access were nearly always written by one access, too.
  for (uint32_t cell = first; cell <= last; ++cell) {
    if (cell > first && writes[cell] == writes[cell - 1]) continue;
    const Verdict found = check_after_write(who, writes[cell]);
    if (found != Verdict::ok) verdict = found;
  }
  uint32_t* reads = reads_[who.warp].data();
  const uint32_t mine = who.clock << 6 | who.lane;
  for (uint32_t cell = first; cell <= last; ++cell) {
    const bool other_lane = (reads[cell] >> 6) == who.clock && reads[cell] != mine;
    reads[cell] = other_lane ? who.clock << 6 | kSeveralLanes : mine;
  }
  highest_clock_ = std::max(highest_clock_, who.clock);
  return verdict;
}

bool SharedMemory::reads_are_seen(const Accessor& who, uint32_t cell) const {
  for (uint32_t warp = 0; warp < reads_.size(); ++warp) {
    const uint32_t stamp = reads_[warp][cell];
    const uint32_t clock = stamp >> 6;
    if (clock < first_clock_ || clock <= (*who.seen)[warp]) continue;
    if (warp == who.warp && (stamp & 63) == who.lane) continue;
    return false;
  }
  return true;
}

SharedMemory::Verdict SharedMemory::check_before_write(const Accessor& who, uint32_t cell) const {
  if (!async_readers_.empty() && async_readers_[cell] != 0) return Verdict::read_in_flight;
  const Verdict found = check_after_write(who, writes_[cell]);
  if (found == Verdict::race || found == Verdict::in_flight) return found;
  return reads_are_seen(who, cell) ? Verdict::ok : Verdict::race;
}

SharedMemory::Verdict SharedMemory::write(const Accessor& who, uint32_t offset, uint32_t bytes,
                                          const uint8_t* value) {
  const uint32_t first = offset >> cell_shift_;
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  const bool changes = std::memcmp(data_.data() + offset, value, bytes) != 0;
  const uint32_t mine = write_stamp(who);
  Verdict verdict = Verdict::ok;
  for (uint32_t cell = first; cell <= last; ++cell) {
    const Verdict found = check_before_write(who, cell);
    if ((found == Verdict::race || found == Verdict::read_in_flight) && !changes) {
      // Keep the earlier stamp: whoever reads must be ordered after both writes, and one that is not is seen by either.
      continue;
    }
    if (found != Verdict::ok) verdict = found;
    writes_[cell] = mine;
  }
  highest_clock_ = std::max(highest_clock_, who.clock);
  return verdict;
}

SharedMemory::Verdict SharedMemory::atomic(const Accessor& who, uint32_t offset, uint32_t bytes) {
  const uint32_t first = offset >> cell_shift_;
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  Verdict verdict = Verdict::ok;
  for (uint32_t cell = first; cell <= last; ++cell) {
    const Verdict found = check_after_write(who, writes_[cell]);
    const bool after_atomic = (writes_[cell] & 1) != 0;
    if (found == Verdict::uninitialised || found == Verdict::in_flight) verdict = found;
    if ((found == Verdict::race && !after_atomic) || !reads_are_seen(who, cell)) verdict = Verdict::race;
    if (!async_readers_.empty() && async_readers_[cell] != 0) verdict = Verdict::read_in_flight;
    writes_[cell] = write_stamp(who) | 1;
  }
  highest_clock_ = std::max(highest_clock_, who.clock);
  return verdict;
}

SharedMemory::Verdict SharedMemory::begin_async_write(const Accessor& who, uint32_t offset, uint32_t bytes) {
  const uint32_t first = offset >> cell_shift_;
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  Verdict verdict = Verdict::ok;
  for (uint32_t cell = first; cell <= last; ++cell) {
    const Verdict found = check_before_write(who, cell);
    if (found != Verdict::ok) verdict = found;
    writes_[cell] = write_stamp(who) | kInFlight;
  }
  highest_clock_ = std::max(highest_clock_, who.clock);
  return verdict;
}

void SharedMemory::landed(const Accessor& who, uint32_t offset, uint32_t bytes) {
  const uint32_t first = offset >> cell_shift_;
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  for (uint32_t cell = first; cell <= last; ++cell) writes_[cell] = write_stamp(who);
}

SharedMemory::Verdict SharedMemory::begin_async_read(const Accessor& who, const SeenClocks& fenced,
                                                     uint32_t offset, uint32_t bytes) {
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  Verdict verdict = Verdict::ok;
  for (uint32_t cell = offset >> cell_shift_; cell <= last; ++cell) {
    const uint32_t stamp = writes_[cell];
    Verdict found = check_after_write(who, stamp);
    if (found == Verdict::ok && (stamp >> 11) > fenced[stamp >> 6 & 31]) found = Verdict::unfenced;
    if (found != Verdict::ok) verdict = found;
  }
  mark_async_read(who.warp, offset, bytes);
  return verdict;
}

void SharedMemory::mark_async_read(uint32_t warp, uint32_t offset, uint32_t bytes) {
  if (async_readers_.empty()) async_readers_.assign(writes_.size(), 0);
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  for (uint32_t cell = offset >> cell_shift_; cell <= last; ++cell) async_readers_[cell] |= 1U << warp;
}

void SharedMemory::end_async_read(const Accessor& who, uint32_t offset, uint32_t bytes) {
  const uint32_t last = (offset + bytes - 1) >> cell_shift_;
  for (uint32_t cell = offset >> cell_shift_; cell <= last; ++cell) {
    async_readers_[cell] &= ~(1U << who.warp);
    reads_[who.warp][cell] = who.clock << 6 | kSeveralLanes;
  }
  highest_clock_ = std::max(highest_clock_, who.clock);
}

}  // namespace ptx
