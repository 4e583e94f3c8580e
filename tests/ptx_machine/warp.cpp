#include "tests/ptx_machine/warp.h"

#include <algorithm>

#include "tests/ptx_machine/ptx_error.h"

namespace ptx {

Warp::Warp(Block& owner, uint32_t warp_number)
    : block(owner), program(owner.state.program), number(warp_number) {
  registers_.resize(static_cast<size_t>(program.slot_count) * kSlotBytes);
  written_.resize(program.slot_count);
  const auto local_bytes = static_cast<size_t>(program.local_bytes) * kWarpSize;
  local_.resize(local_bytes);
  local_written_.resize(local_bytes);
  for (size_t i = 0; i < program.constants.size(); ++i) {
    const auto [slot, bits] = program.constants[i];
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (program.constant_is_wide[i] != 0)
        lanes<uint64_t>(slot * kSlotBytes)[lane] = bits;
      else
        lanes<uint32_t>(slot * kSlotBytes)[lane] = static_cast<uint32_t>(bits);
    }
  }
}

void Warp::begin(uint32_t first_clock) {
  const uint32_t threads = std::min<uint32_t>(kWarpSize, block.thread_count - number * kWarpSize);
  live_ = threads == kWarpSize ? kAllLanes : (1U << threads) - 1;
  fragments_.assign(1, {0, live_, false});
  std::fill(written_.begin(), written_.end(), 0);
  std::fill(local_written_.begin(), local_written_.end(), 0);
  for (const auto& [slot, bits] : program.constants) written_[slot] = kAllLanes;
  fill_specials();
  async_copies.clear();
  committed_groups = {};
  clock = first_clock;
  seen.fill(first_clock - 1);
  fenced = seen;
  if (program.has_wgmma) products.begin(program.slot_count);
  status_ = Status::ready;
  executed_ = 0;
}

void Warp::fill_specials() {
  for (size_t i = 0; i < program.symbols.size(); ++i) {
    const uint32_t slot = program.symbols[i].first;
    written_[slot] = kAllLanes;
    std::fill_n(lanes<uint64_t>(slot * kSlotBytes), kWarpSize, block.state.symbol_addresses[i]);
  }
  const Launch& launch = block.state.launch;
  const Dim3 size = launch.block;
  const Dim3 grid = launch.grid;
  for (const auto& [slot, name] : program.specials) {
    written_[slot] = kAllLanes;
    auto* values = lanes<uint32_t>(slot * kSlotBytes);
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      const uint32_t thread = number * kWarpSize + lane;
      uint32_t value = 0;
      if (name == "%tid.x")
        value = thread % size.x;
      else if (name == "%tid.y")
        value = thread / size.x % size.y;
      else if (name == "%tid.z")
        value = thread / size.x / size.y;
      else if (name == "%ntid.x")
        value = size.x;
      else if (name == "%ntid.y")
        value = size.y;
      else if (name == "%ntid.z")
        value = size.z;
      else if (name == "%ctaid.x")
        value = block.index.x;
      else if (name == "%ctaid.y")
        value = block.index.y;
      else if (name == "%ctaid.z")
        value = block.index.z;
      else if (name == "%nctaid.x")
        value = grid.x;
      else if (name == "%nctaid.y")
        value = grid.y;
      else if (name == "%nctaid.z")
        value = grid.z;
      else if (name == "%laneid")
        value = lane;
      else if (name == "%warpid")
        value = number;
      else if (name == "%nwarpid")
        value = static_cast<uint32_t>(block.warps.size());
      else if (name == "%lanemask_eq")
        value = 1U << lane;
      else if (name == "%lanemask_lt")
        value = (1U << lane) - 1;
      else if (name == "%lanemask_le")
        value = (2U << lane) - 1;
      else if (name == "%lanemask_gt")
        value = ~((2U << lane) - 1);
      else if (name == "%lanemask_ge")
        value = ~((1U << lane) - 1);
      else if (name == "%dynamic_smem_size")
        value = static_cast<uint32_t>(launch.dynamic_shared_bytes);
      else if (name == "%total_smem_size")
        value = static_cast<uint32_t>(launch.dynamic_shared_bytes + program.static_shared_bytes);
      else if (name == "%cluster_nctarank")
        value = 1;
      values[lane] = value;
    }
  }
}

void Warp::run() {
  const Instruction* code = program.code.data();
  const auto code_size = static_cast<uint32_t>(program.code.size());
  Counters& counts = block.state.counters;
  uint64_t* executions = block.state.executions.data();
  const uint64_t limit = options().instruction_limit;
  while (status_ == Status::ready) {
    if (!choose_fragment()) return;
    Fragment* fragment = &fragments_[running_];
    pc = fragment->pc;
    interrupt_ = false;
    while (!interrupt_) {
      if (pc >= code_size) throw Error(program.name + ": ran past its last instruction");
      const Instruction& in = code[pc];
      active = fragment->mask;
      if (in.guard != kNoSlot) active &= predicate(in.guard) ^ in.guard_flip;
      next_pc = pc + 1;
      ++executions[pc];
      if (++executed_ > limit) interrupt_ = true;
      if (in.guard != kNoSlot && (fragment->mask & ~written_[in.guard / kSlotBytes]) != 0) check_sources(in);
      if (active != 0) {
        counts.thread_instructions += static_cast<uint64_t>(std::popcount(active));
        current = &in;
        for (uint32_t i = 0; i < in.source_count; ++i) {
          if ((active & ~written_[program.slots[in.sources + i]]) != 0) {
            check_sources(in);
            break;
          }
        }
        if (program.has_wgmma) note_touches(in);
        results_hold_ = true;
        in.run(*this, in);
        if (results_hold_) {
          for (uint32_t i = 0; i < in.result_count; ++i) written_[program.slots[in.results + i]] |= active;
        }
        fragment = &fragments_[running_];  // a jump may have made another
      }
      pc = next_pc;
      if (pc >= limit_pc_) interrupt_ = true;
    }
    fragment->pc = pc;
    if (executed_ > limit && live_ != 0) {
      report(Fault::deadlock, std::countr_zero(live_), 0, "endless loop: instruction limit reached");
      live_ = 0;
      status_ = Status::done;
      return;
    }
    if (live_ == 0) status_ = Status::done;
  }
}

bool Warp::choose_fragment() {
  // Merge fragments that have met, forget empty ones.
  std::erase_if(fragments_, [](const Fragment& f) { return f.mask == 0; });
  for (size_t i = 0; i < fragments_.size(); ++i) {
    for (size_t j = i + 1; j < fragments_.size();) {
      if (fragments_[i].pc != fragments_[j].pc) {
        ++j;
        continue;
      }
      fragments_[i].mask |= fragments_[j].mask;
      fragments_[i].waits = false;
      fragments_.erase(fragments_.begin() + static_cast<std::ptrdiff_t>(j));
    }
  }
  if (fragments_.empty()) {
    status_ = Status::done;
    return false;
  }
  size_t chosen = fragments_.size();
  for (size_t i = 0; i < fragments_.size(); ++i) {
    if (!fragments_[i].waits && (chosen == fragments_.size() || fragments_[i].pc < fragments_[chosen].pc))
      chosen = i;
  }
  if (chosen == fragments_.size()) {  // all wait for one another
    for (const Fragment& fragment : fragments_) {
      current = &program.code[fragment.pc];
      active = fragment.mask;
      const bool barrier = program.parsed[current->parsed].opcode.starts_with("bar");
      report(barrier ? Fault::divergent_barrier : Fault::deadlock, std::countr_zero(fragment.mask), 0,
             "lanes of this warp wait at different places");
    }
    live_ = 0;
    status_ = Status::done;
    return false;
  }
  running_ = chosen;
  limit_pc_ = 0xFFFFFFFF;
  for (const Fragment& fragment : fragments_) {
    if (&fragment != &fragments_[chosen] && fragment.pc > fragments_[chosen].pc)
      limit_pc_ = std::min(limit_pc_, fragment.pc);
  }
  return true;
}

void Warp::jump(uint32_t target, uint32_t taken) {
  const uint32_t others = fragments_[running_].mask & ~taken;
  if (others == 0) {
    next_pc = target;
    // Fragments behind the new place run first.
    if (fragments_.size() > 1) interrupt_ = true;
    return;
  }
  fragments_.push_back({next_pc, others, false});
  fragments_[running_].mask = taken;
  next_pc = target;
  interrupt_ = true;
}

void Warp::exit_lanes() {
  live_ &= ~active;
  fragments_[running_].mask &= ~active;
  if (fragments_[running_].mask == 0 || fragments_.size() > 1) interrupt_ = true;
  // Those that wait may wait for lanes that are gone.
  for (Fragment& fragment : fragments_) fragment.waits = false;
}

bool Warp::gather(uint32_t members) {
  if ((members & ~active & live_) == 0) return true;
  if (const uint32_t skipped = members & fragments_[running_].mask & ~active; skipped != 0) {
    report(Fault::bad_membermask, std::countr_zero(skipped), members,
           "a lane of the mask does not execute it");
    return true;
  }
  fragments_[running_].waits = true;
  retry();
  interrupt_ = true;
  return false;
}

void Warp::tick() {
  seen[number] = clock;
  ++clock;
}

void Warp::fence_proxy() {
  for (uint32_t warp = 0; warp < kMaxWarps; ++warp) fenced[warp] = std::max(fenced[warp], seen[warp]);
  // What the warp writes from now on has another stamp; its lanes are no more ordered than before.
  fenced[number] = clock++;
}

void Warp::take_for_product(uint32_t slot, WarpgroupState::Use use) {
  products.use[slot] = use;
  written_[slot] = 0;
}

void Warp::return_from_product(uint32_t slot) {
  products.use[slot] = WarpgroupState::Use::none;
  written_[slot] = kAllLanes;
}

void Warp::note_touches(const Instruction& in) {
  for (uint32_t i = 0; i < in.source_count; ++i)
    products.touched[program.slots[in.sources + i]] = products.fences + 1;
  for (uint32_t i = 0; i < in.result_count; ++i) {
    const uint32_t slot = program.slots[in.results + i];
    products.touched[slot] = products.fences + 1;
    if (products.use[slot] == WarpgroupState::Use::none) continue;
    report(Fault::async_in_flight, std::countr_zero(active), 0,
           "writes a register that a wgmma not waited for uses");
  }
}

void Warp::check_sources(const Instruction& in) {
  current = &in;
  const auto check = [&](uint32_t slot, uint32_t lanes_reading) {
    const uint32_t missing = lanes_reading & ~written_[slot];
    if (missing == 0) return;
    if (program.has_wgmma && products.use[slot] != WarpgroupState::Use::none) {
      report(Fault::async_in_flight, std::countr_zero(missing), 0,
             "reads a register that a wgmma not waited for uses");
      written_[slot] |= missing;
      return;
    }
    report(Fault::uninitialised_register, std::countr_zero(missing), 0,
           "reads a register that was never written");
    written_[slot] |= missing;
  };
  if (in.guard != kNoSlot) check(in.guard / kSlotBytes, fragments_[running_].mask);
  for (uint32_t i = 0; i < in.source_count; ++i) check(program.slots[in.sources + i], active);
}

void Warp::report(Fault fault, int lane, uint64_t address, std::string detail) {
  Report result;
  result.fault = fault;
  result.kernel = program.name;
  result.place = program.describe(*current);
  result.block = block.index;
  result.thread = thread_of(lane);
  result.address = address;
  result.detail = std::move(detail);
  block.state.log.add(std::move(result));
}

}  // namespace ptx
