#pragma once
// A warp: 32 lanes in fragments. Lanes that branch apart become fragments with places of their own; the
// fragment furthest behind runs first, and fragments that meet at one place become one again. That order
// reconverges the code that compilers emit.

#include <bit>
#include <deque>
#include <string>
#include <vector>

#include "tests/ptx_machine/block.h"
#include "tests/ptx_machine/program.h"
#include "tests/ptx_machine/warpgroup_state.h"

namespace ptx {

class Warp {
 public:
  enum class Status {
    ready,       // can run
    at_barrier,  // waits for other warps
    yielded,     // polls something that other warps must change
    done,
  };

  Warp(Block& block, uint32_t number);

  /// Back to the kernel's first instruction, for a new block.
  void begin(uint32_t clock);
  /// Runs until it can't.
  void run();

  // ---- for the handlers of instructions
  template <class T>
  T* lanes(uint32_t offset) {
    return reinterpret_cast<T*>(registers_.data() + offset);
  }
  uint32_t& predicate(uint32_t offset) { return *lanes<uint32_t>(offset); }
  const uint32_t* list(const Instruction& in) const { return program.lists.data() + in.list; }
  /// Calls f(lane) for every lane that executes; all 32 in one plain loop where it can.
  template <class F>
  void for_active(F f) const {
    if (active == kAllLanes) {
      for (int lane = 0; lane < kWarpSize; ++lane) f(lane);
    } else {
      for (uint32_t rest = active; rest != 0; rest &= rest - 1) f(std::countr_zero(rest));
    }
  }
  uint32_t live() const { return live_; }
  void jump(uint32_t target, uint32_t taken);
  void exit_lanes();
  /// False when the instruction must wait for further lanes of `members`: then it runs again when they have come.
  bool gather(uint32_t members);
  void stop(Status status) {
    status_ = status;
    interrupt_ = true;
  }
  /// The instruction runs again when the warp goes on.
  void retry() {
    next_pc = pc;
    results_hold_ = false;
  }
  void report(Fault fault, int lane, uint64_t address, std::string detail);
  SharedMemory::Accessor accessor(int lane) const {
    return {number, static_cast<uint32_t>(lane), clock, &seen};
  }
  void tick();
  /// fence.proxy.async: marks what the warp has seen, and what it has written itself, as there for wgmma.
  void fence_proxy();
  /// Whether all lanes of a register hold a value.
  bool holds(uint32_t slot) const { return written_[slot] == kAllLanes; }
  /// Registers of wgmma between its issue and the wait for it: a touch is reported.
  void take_for_product(uint32_t slot, WarpgroupState::Use use);
  void return_from_product(uint32_t slot);
  uint32_t thread_of(int lane) const { return number * kWarpSize + static_cast<uint32_t>(lane); }
  Counters& counters() { return block.state.counters; }
  const RunOptions& options() const { return block.state.options; }
  /// Local memory of a lane.
  uint8_t* local(int lane) { return local_.data() + static_cast<size_t>(lane * program.local_bytes); }
  uint8_t* local_written(int lane) {
    return local_written_.data() + static_cast<size_t>(lane * program.local_bytes);
  }

  Block& block;
  const Program& program;
  const uint32_t number;  // within the block
  uint32_t active = 0;    // lanes that execute the current instruction
  uint32_t pc = 0, next_pc = 0;
  const Instruction* current = nullptr;
  uint32_t clock = 1;
  SeenClocks seen = {};
  SeenClocks fenced = {};  // shared_memory.h
  Status status() const { return status_; }
  void set_ready() { status_ = Status::ready; }

  /// cp.async of this warp that have not been waited for.
  struct AsyncCopy {
    uint32_t lanes;
    uint32_t bytes;
    std::array<uint32_t, kWarpSize> target;
    std::array<uint32_t, kWarpSize> group;  // number of the lane's commit group
  };
  std::deque<AsyncCopy> async_copies;
  std::array<uint32_t, kWarpSize> committed_groups = {};
  WarpgroupState products;
  uint64_t random_state = 1;

 private:
  struct Fragment {
    uint32_t pc, mask;
    bool waits;
  };
  void check_sources(const Instruction& in);
  void note_touches(const Instruction& in);
  bool choose_fragment();
  void fill_specials();

  std::vector<uint8_t> registers_;
  std::vector<uint32_t> written_;  // lanes of a slot that hold a value
  std::vector<uint8_t> local_, local_written_;
  std::vector<Fragment> fragments_;
  size_t running_ = 0;     // index of the fragment that runs
  uint32_t limit_pc_ = 0;  // where another fragment is
  uint32_t live_ = 0;
  bool interrupt_ = false;  // leave the inner loop after this instruction
  bool results_hold_ = true;
  Status status_ = Status::ready;
  uint64_t executed_ = 0;
};

}  // namespace ptx
