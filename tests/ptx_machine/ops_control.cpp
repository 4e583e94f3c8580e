// Jumps, the end of a thread, barriers of the warp and of the block.
#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

void translate_bra(Build& build) {
  build.take("uni");
  if (build.operand(0).kind != Operand::Kind::label) build.unknown("unknown label");
  build.in.run = [](Warp& w, const Instruction& in) { w.jump(in.target, w.active); };
  build.in.unit = Unit::control;
}

void translate_exit(Build& build) {
  build.take("uni");
  build.in.run = [](Warp& w, const Instruction&) { w.exit_lanes(); };
  build.in.unit = Unit::control;
}

void translate_trap(Build& build) {
  build.in.run = [](Warp& w, const Instruction&) {
    w.report(Fault::invalid_operation, std::countr_zero(w.active), 0, "trap");
    w.exit_lanes();
  };
  build.in.unit = Unit::control;
}

/// bar.warp.sync mask
void run_warp_barrier(Warp& w, const Instruction& in) {
  const auto* masks = w.lanes<uint32_t>(in.a);
  const uint32_t members = masks[std::countr_zero(w.active)];
  if ((w.active & ~members) != 0)
    w.report(Fault::bad_membermask, std::countr_zero(w.active & ~members), members,
             "a lane outside of the mask executes it");
  if (!w.gather(members)) return;
  // A barrier of part of the warp orders that part only; the clock is the whole warp's, so it ticks for a whole one.
  if ((w.live() & ~members) == 0) w.tick();
}

/// bar{.cta}.sync / .arrive / .red number, threads
template <bool kWaits>
void run_barrier(Warp& w, const Instruction& in) {
  if (!w.gather(w.live())) return;
  const int lane = std::countr_zero(w.active);
  const uint32_t barrier = w.lanes<uint32_t>(in.a)[lane];
  const uint32_t threads = in.b == kNoSlot ? w.block.thread_count : w.lanes<uint32_t>(in.b)[lane];
  if (barrier > 15 || threads > w.block.thread_count ||
      (threads % kWarpSize != 0 && threads != w.block.thread_count))
    w.report(Fault::invalid_operation, lane, barrier, "barrier number or count of threads");
  w.block.arrive(barrier, w.number, threads, kWaits);
}

void translate_bar(Build& build) {
  build.in.unit = Unit::control;
  build.in.is_sync = true;
  build.take("cta");
  build.take("aligned");
  if (build.take("warp")) {
    if (!build.take("sync")) build.unknown("no such form");
    build.in.run = run_warp_barrier;
    build.in.a = build.source(0, Type::b32);
    return;
  }
  const bool sync = build.take("sync"), arrive = build.take("arrive");
  if (sync == arrive) build.unknown("no such form");
  build.in.run = sync ? run_barrier<true> : run_barrier<false>;
  build.in.a = build.source(0, Type::b32);
  if (build.operand_count() > 1) build.in.b = build.source(1, Type::b32);
}

void translate_nothing(Build& build) {
  build.take("u32");
  build.in.run = [](Warp&, const Instruction&) {};
  build.in.unit = Unit::control;
}

constexpr Opcode kOpcodes[] = {{"bra", translate_bra},          {"ret", translate_exit},
                               {"exit", translate_exit},        {"trap", translate_trap},
                               {"bar", translate_bar},          {"barrier", translate_bar},
                               {"nanosleep", translate_nothing}};

}  // namespace

std::span<const Opcode> control_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
