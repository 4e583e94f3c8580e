// cp.async: copies from global to shared memory that run beside the program until they are waited for.
#include <algorithm>

#include "tests/ptx_machine/handlers.h"
#include "tests/ptx_machine/memory_access.h"

namespace ptx {
namespace {

/// in.a target, in.b source, in.c bytes of the source (the rest is zeros), in.list {offset of the source}
template <uint32_t kBytes>
void run_copy(Warp& w, const Instruction& in) {
  const LaneAddresses targets =
      in.e != 0 ? lane_addresses<true>(w, in.a, in.offset) : lane_addresses<false>(w, in.a, in.offset);
  const LaneAddresses sources = lane_addresses<true>(w, in.b, static_cast<int32_t>(in.target));
  const auto* source_bytes = in.c == kNoSlot ? nullptr : w.lanes<uint32_t>(in.c);
  LanePointers pointers{};
  uint32_t reading = 0;
  w.for_active([&](int i) {
    const uint32_t count = source_bytes == nullptr ? kBytes : source_bytes[i];
    if (count > kBytes) w.report(Fault::invalid_operation, i, count, "source size above the copy's size");
    if (count > 0) reading |= 1U << i;
  });
  // The machine's check of a part of the bytes: all copies here take whole ones or none.
  if (reading != 0) access_global(w, reading, sources, kBytes, GlobalUse::read, nullptr, pointers);
  count_wavefronts(w, w.active, targets, kBytes);
  Warp::AsyncCopy copy{0, kBytes, {}, w.committed_groups};
  w.for_active([&](int i) {
    const auto lane = static_cast<size_t>(i);
    if (!check_shared(w, i, targets[lane], kBytes)) return;
    const auto target = static_cast<uint32_t>(targets[lane]);
    report_shared(w, i, target, w.block.shared.begin_async_write(w.accessor(i), target, kBytes));
    const uint32_t count = (reading >> i & 1) == 0   ? 0
                           : source_bytes == nullptr ? kBytes
                                                     : std::min(source_bytes[i], kBytes);
    uint8_t* data = w.block.shared.data() + target;
    if (pointers[lane] != nullptr) std::memcpy(data, pointers[lane], count);
    std::memset(data + count, 0, kBytes - count);
    copy.target[lane] = target;
    copy.lanes |= 1U << i;
  });
  w.async_copies.push_back(copy);
}

void run_commit(Warp& w, const Instruction&) {
  w.for_active([&](int i) { ++w.committed_groups[static_cast<size_t>(i)]; });
}

/// Ends the copies of all but the last in.offset groups (all of them, committed or not, for -1).
void run_wait(Warp& w, const Instruction& in) {
  for (auto& copy : w.async_copies) {
    w.for_active([&](int i) {
      const auto lane = static_cast<size_t>(i);
      if ((copy.lanes >> i & 1) == 0) return;
      if (in.offset >= 0 && copy.group[lane] + static_cast<uint64_t>(in.offset) >= w.committed_groups[lane])
        return;
      w.block.shared.landed(w.accessor(i), copy.target[lane], copy.bytes);
      copy.lanes &= ~(1U << i);
    });
  }
  while (!w.async_copies.empty() && w.async_copies.front().lanes == 0) w.async_copies.pop_front();
}

void translate_cp(Build& build) {
  if (!build.take("async")) build.unknown("no such form");
  build.in.unit = Unit::global_memory;
  if (build.take("commit_group")) {
    build.in.run = run_commit;
    build.in.unit = Unit::control;
    build.in.is_sync = true;
    return;
  }
  if (build.take("wait_group") || build.take("wait_all")) {
    build.in.run = run_wait;
    build.in.unit = Unit::control;
    build.in.is_sync = true;
    build.in.offset = build.operand_count() == 0 ? -1 : static_cast<int64_t>(build.operand(0).bits);
    return;
  }
  build.take_any({"ca", "cg", "global", "L2::64B", "L2::128B", "L2::256B"});
  if (build.take("L2::cache_hint")) build.unknown("cache policies are not known");
  if (!build.take_any({"shared", "shared::cta"})) build.unknown("no such form");
  const Build::AddressOperand target = build.address(build.operand(0));
  const Build::AddressOperand source = build.address(build.operand(1));
  if (target.base == kNoSlot || source.base == kNoSlot || !source.wide)
    build.unknown("an address without register");
  build.in.a = target.base;
  build.in.e = target.wide ? 1 : 0;
  build.in.offset = target.offset;
  build.in.b = source.base;
  build.in.target = static_cast<uint32_t>(source.offset);
  if (build.operand_count() > 3) build.in.c = build.source(3, Type::u32);
  switch (build.operand(2).bits) {
    case 4:
      build.in.run = run_copy<4>;
      break;
    case 8:
      build.in.run = run_copy<8>;
      break;
    case 16:
      build.in.run = run_copy<16>;
      break;
    default:
      build.unknown("size of the copy");
  }
}

constexpr Opcode kOpcodes[] = {{"cp", translate_cp}};

}  // namespace

std::span<const Opcode> async_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
