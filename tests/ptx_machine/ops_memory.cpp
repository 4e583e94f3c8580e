// Loads, stores, atomics and fences.
#include <algorithm>
#include <type_traits>

#include "tests/ptx_machine/handlers.h"
#include "tests/ptx_machine/memory_access.h"

namespace ptx {
namespace {

enum class Space { generic, global, non_coherent, shared, local, param };

LaneAddresses addresses_of(Warp& w, const Instruction& in) {
  if (in.a == kNoSlot) return same_address(static_cast<uint64_t>(in.offset));
  return in.e != 0 ? lane_addresses<true>(w, in.a, in.offset) : lane_addresses<false>(w, in.a, in.offset);
}

/// The host memory that a load reads, lane by lane.
template <Space kSpace>
void load_pointers(Warp& w, const LaneAddresses& addresses, uint32_t lanes, uint32_t bytes,
                   LanePointers& pointers) {
  if constexpr (kSpace == Space::global || kSpace == Space::non_coherent) {
    access_global(w, lanes, addresses, bytes,
                  kSpace == Space::global ? GlobalUse::read : GlobalUse::read_non_coherent, nullptr,
                  pointers);
  } else if constexpr (kSpace == Space::shared) {
    count_wavefronts(w, lanes, addresses, bytes);
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const uint64_t address = addresses[static_cast<size_t>(lane)];
      pointers[static_cast<size_t>(lane)] = nullptr;
      if (!check_shared(w, lane, address, bytes)) continue;
      report_shared(w, lane, address,
                    w.block.shared.read(w.accessor(lane), static_cast<uint32_t>(address), bytes));
      pointers[static_cast<size_t>(lane)] = w.block.shared.data() + address;
    }
  } else if constexpr (kSpace == Space::local) {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const uint64_t address = addresses[static_cast<size_t>(lane)];
      pointers[static_cast<size_t>(lane)] = nullptr;
      if (address + bytes > static_cast<uint64_t>(w.program.local_bytes) || address % bytes != 0) {
        w.report(address % bytes != 0 ? Fault::misaligned : Fault::out_of_bounds, lane, address,
                 "local memory");
        continue;
      }
      if (std::memchr(w.local_written(lane) + address, 0, bytes) != nullptr)
        w.report(Fault::uninitialised_memory, lane, address, "local memory that was never written");
      pointers[static_cast<size_t>(lane)] = w.local(lane) + address;
    }
  } else if constexpr (kSpace == Space::param) {
    const auto& parameters = w.block.state.launch.arguments;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const uint64_t address = addresses[static_cast<size_t>(lane)];
      pointers[static_cast<size_t>(lane)] = nullptr;
      if (address + bytes > parameters.size() || address % bytes != 0) {
        w.report(address % bytes != 0 ? Fault::misaligned : Fault::out_of_bounds, lane, address,
                 "kernel parameters");
        continue;
      }
      pointers[static_cast<size_t>(lane)] = const_cast<uint8_t*>(parameters.data()) + address;
    }
  } else {
    // Generic: each space has its lanes.
    LaneAddresses local = addresses;
    for (const uint64_t window : {uint64_t{0}, kSharedWindow, kLocalWindow, kParamWindow}) {
      uint32_t here = 0;
      for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
        const auto lane = static_cast<size_t>(std::countr_zero(rest));
        if ((addresses[lane] & kWindowMask) != window) continue;
        here |= 1U << lane;
        local[lane] = addresses[lane] & ~kWindowMask;
      }
      if (here == 0) continue;
      if (window == kSharedWindow)
        load_pointers<Space::shared>(w, local, here, bytes, pointers);
      else if (window == kLocalWindow)
        load_pointers<Space::local>(w, local, here, bytes, pointers);
      else if (window == kParamWindow)
        load_pointers<Space::param>(w, local, here, bytes, pointers);
      else
        load_pointers<Space::global>(w, local, here, bytes, pointers);
    }
  }
}

/// ld: elements of type Element, kept in registers of type Register, extended.
template <Space kSpace, class Element, class Register>
void run_load(Warp& w, const Instruction& in) {
  const LaneAddresses addresses = addresses_of(w, in);
  const auto bytes = static_cast<uint32_t>(sizeof(Element)) * in.list_size;
  LanePointers pointers;
  load_pointers<kSpace>(w, addresses, w.active, bytes, pointers);
  const uint32_t* list = w.list(in);
  for (uint32_t k = 0; k < in.list_size; ++k) {
    auto* d = w.lanes<Register>(list[k]);
    w.for_active([&](int i) {
      Element value{};
      if (const uint8_t* from = pointers[static_cast<size_t>(i)]; from != nullptr)
        std::memcpy(&value, from + k * sizeof(Element), sizeof(Element));
      d[i] = static_cast<Register>(value);
    });
  }
}

/// st: the low bytes of the registers.
template <Space kSpace, class Element, class Register>
void run_store(Warp& w, const Instruction& in) {
  const LaneAddresses addresses = addresses_of(w, in);
  const auto bytes = static_cast<uint32_t>(sizeof(Element)) * in.list_size;
  const uint32_t* list = w.list(in);
  alignas(64) std::array<std::array<uint8_t, 64>, kWarpSize> values;
  for (uint32_t k = 0; k < in.list_size; ++k) {
    const auto* from = w.lanes<Register>(list[k]);
    w.for_active([&](int i) {
      const auto value = static_cast<Element>(from[i]);
      std::memcpy(values[static_cast<size_t>(i)].data() + k * sizeof(Element), &value, sizeof(Element));
    });
  }
  LanePointers sources;
  for (size_t i = 0; i < kWarpSize; ++i) sources[i] = values[i].data();
  const auto store_in = [&](Space space, const LaneAddresses& where, uint32_t lanes) {
    if (space == Space::shared) count_wavefronts(w, lanes, where, bytes);
    if (space == Space::global) {
      LanePointers pointers;
      return access_global(w, lanes, where, bytes, GlobalUse::write, &sources, pointers);
    }
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const auto i = static_cast<size_t>(lane);
      if (space == Space::shared) {
        if (!check_shared(w, lane, where[i], bytes)) continue;
        const auto offset = static_cast<uint32_t>(where[i]);
        report_shared(w, lane, where[i],
                      w.block.shared.write(w.accessor(lane), offset, bytes, values[i].data()));
        std::memcpy(w.block.shared.data() + offset, values[i].data(), bytes);
      } else {
        if (where[i] + bytes > static_cast<uint64_t>(w.program.local_bytes) || where[i] % bytes != 0) {
          w.report(where[i] % bytes != 0 ? Fault::misaligned : Fault::out_of_bounds, lane, where[i],
                   "local memory");
          continue;
        }
        std::memcpy(w.local(lane) + where[i], values[i].data(), bytes);
        std::memset(w.local_written(lane) + where[i], 1, bytes);
      }
    }
  };
  if constexpr (kSpace != Space::generic) {
    store_in(kSpace, addresses, w.active);
  } else {
    LaneAddresses local = addresses;
    uint32_t shared_lanes = 0, local_lanes = 0, global_lanes = 0;
    w.for_active([&](int i) {
      const uint64_t window = addresses[static_cast<size_t>(i)] & kWindowMask;
      (window == kSharedWindow  ? shared_lanes
       : window == kLocalWindow ? local_lanes
                                : global_lanes) |= 1U << i;
      if (window == kSharedWindow || window == kLocalWindow) local[static_cast<size_t>(i)] &= ~kWindowMask;
    });
    if (shared_lanes != 0) store_in(Space::shared, local, shared_lanes);
    if (local_lanes != 0) store_in(Space::local, local, local_lanes);
    if (global_lanes != 0) store_in(Space::global, local, global_lanes);
  }
}

template <Space kSpace, template <Space, class, class> class Op>
Handler memory_handler(Type type, int register_bytes) {
  const auto widen = [&]<class Element>(Element) -> Handler {
    if constexpr (sizeof(Element) <= 2) {
      if (register_bytes == 2) return Op<kSpace, Element, uint16_t>::run;
    }
    if constexpr (sizeof(Element) <= 4) {
      if (register_bytes == 4) return Op<kSpace, Element, uint32_t>::run;
    }
    return register_bytes == 8 ? Op<kSpace, Element, uint64_t>::run : nullptr;
  };
  switch (type) {
    case Type::b8:
    case Type::u8:
      return widen(uint8_t{});
    case Type::s8:
      return widen(int8_t{});
    case Type::s16:
      return widen(int16_t{});
    case Type::s32:
      return widen(int32_t{});
    default:
      return size_of(type) == 2   ? widen(uint16_t{})
             : size_of(type) == 4 ? widen(uint32_t{})
                                  : widen(uint64_t{});
  }
}

template <Space kSpace, class Element, class Register>
struct Load {
  static constexpr Handler run = run_load<kSpace, Element, Register>;
};
template <Space kSpace, class Element, class Register>
struct Store {
  static constexpr Handler run = run_store<kSpace, Element, Register>;
};

/// Modifiers that hint at caches or strengthen the order; the machine keeps one order anyway.
void take_hints(Build& build) {
  build.take_any({"volatile",
                  "relaxed",
                  "weak",
                  "acquire",
                  "release",
                  "gpu",
                  "cta",
                  "sys",
                  "ca",
                  "cg",
                  "cs",
                  "lu",
                  "cv",
                  "wb",
                  "wt",
                  "L1::no_allocate",
                  "L1::evict_first",
                  "L1::evict_last",
                  "L2::64B",
                  "L2::128B",
                  "L2::256B",
                  "L1::evict_normal",
                  "L1::evict_unchanged",
                  "L2::cache_hint"});
}

Space take_space(Build& build) {
  if (build.take("global")) return build.take("nc") ? Space::non_coherent : Space::global;
  if (build.take("const")) return Space::global;
  if (build.take_any({"shared", "shared::cta"})) return Space::shared;
  if (build.take("local")) return Space::local;
  if (build.take_any({"param", "param::entry", "param::func"})) return Space::param;
  return Space::generic;
}

/// Sets in.a and in.offset; a parameter of a called function lives in local memory.
Space take_address(Build& build, const Operand& operand, Space space) {
  const Build::AddressOperand address = build.address(operand);
  build.in.a = address.base;
  build.in.e = address.wide ? 1 : 0;
  build.in.offset = address.offset;
  if (space == Space::param && address.symbol && !address.symbol->is_kernel_parameter) return Space::local;
  if (space == Space::generic && address.symbol && address.symbol->space == StateSpace::shared)
    return Space::shared;
  return space;
}

void note_shared_grain(Build& build, int bytes) {
  int& grain = build.scope().program().smallest_shared_access;
  grain = std::min(grain, bytes);
}

void set_unit(Build& build, Space space) {
  build.in.unit = space == Space::shared  ? Unit::shared_memory
                  : space == Space::param ? Unit::none
                                          : Unit::global_memory;
  if (space == Space::param) build.in.issue_slots = 0;  // constants are operands
}

void translate_ld(Build& build) {
  Space space = take_space(build);
  take_hints(build);
  const int vector = build.take_vector();
  const Type type = build.need_type();
  build.result_list(0);
  if (static_cast<int>(build.in.list_size) != vector) build.unknown("vector length");
  space = take_address(build, build.operand(1), space);
  const Operand& first =
      build.operand(0).kind == Operand::Kind::vector ? build.operand(0).elements[0] : build.operand(0);
  const int width =
      first.kind == Operand::Kind::reg ? build.register_bytes(first) : std::max(size_of(type), 2);
  if (space == Space::shared || space == Space::generic) note_shared_grain(build, size_of(type) * vector);
  set_unit(build, space);
  switch (space) {
    case Space::generic:
      build.in.run = memory_handler<Space::generic, Load>(type, width);
      break;
    case Space::global:
      build.in.run = memory_handler<Space::global, Load>(type, width);
      break;
    case Space::non_coherent:
      build.in.run = memory_handler<Space::non_coherent, Load>(type, width);
      break;
    case Space::shared:
      build.in.run = memory_handler<Space::shared, Load>(type, width);
      break;
    case Space::local:
      build.in.run = memory_handler<Space::local, Load>(type, width);
      break;
    case Space::param:
      build.in.run = memory_handler<Space::param, Load>(type, width);
      break;
  }
}

void translate_st(Build& build) {
  Space space = take_space(build);
  take_hints(build);
  const int vector = build.take_vector();
  const Type type = build.need_type();
  space = take_address(build, build.operand(0), space);
  const Operand& values = build.operand(1);
  const Operand& first = values.kind == Operand::Kind::vector ? values.elements[0] : values;
  int width = std::max(size_of(type), 2);
  if (first.kind == Operand::Kind::reg) width = build.register_bytes(first);
  build.source_list(1, width == 8 ? Type::b64 : width == 4 ? Type::b32 : Type::b16);
  if (static_cast<int>(build.in.list_size) != vector) build.unknown("vector length");
  if (space == Space::shared || space == Space::generic) note_shared_grain(build, size_of(type) * vector);
  set_unit(build, space);
  switch (space) {
    case Space::generic:
      build.in.run = memory_handler<Space::generic, Store>(type, width);
      break;
    case Space::global:
      build.in.run = memory_handler<Space::global, Store>(type, width);
      break;
    case Space::shared:
      build.in.run = memory_handler<Space::shared, Store>(type, width);
      break;
    case Space::local:
      build.in.run = memory_handler<Space::local, Store>(type, width);
      break;
    default:
      build.unknown("a space that cannot be written");
  }
}

// ---- atomics: one lane after the other

struct AtomicAdd {
  template <class T>
  static T apply(T old, T b, T) {
    return static_cast<T>(old + b);
  }
};
struct AtomicMin {
  template <class T>
  static T apply(T old, T b, T) {
    return std::min(old, b);
  }
};
struct AtomicMax {
  template <class T>
  static T apply(T old, T b, T) {
    return std::max(old, b);
  }
};
struct AtomicExchange {
  template <class T>
  static T apply(T, T b, T) {
    return b;
  }
};
struct AtomicCompareSwap {
  template <class T>
  static T apply(T old, T b, T c) {
    return old == b ? c : old;
  }
};
struct AtomicIncrement {
  template <class T>
  static T apply(T old, T b, T) {
    return old >= b ? T{0} : static_cast<T>(old + 1);
  }
};
struct AtomicAnd {
  template <class T>
  static T apply(T old, T b, T) {
    return static_cast<T>(old & b);
  }
};
struct AtomicOr {
  template <class T>
  static T apply(T old, T b, T) {
    return static_cast<T>(old | b);
  }
};
struct AtomicXor {
  template <class T>
  static T apply(T old, T b, T) {
    return static_cast<T>(old ^ b);
  }
};

template <class T, class Op>
void run_atomic(Warp& w, const Instruction& in) {
  const bool wide = (in.target & 1) != 0;
  const bool only_shared = (in.target & 2) != 0;
  const LaneAddresses addresses = in.a == kNoSlot ? same_address(static_cast<uint64_t>(in.offset))
                                  : wide          ? lane_addresses<true>(w, in.a, in.offset)
                                                  : lane_addresses<false>(w, in.a, in.offset);
  const auto* b = w.lanes<T>(in.b);
  const auto* c = w.lanes<T>(in.c == kNoSlot ? in.b : in.c);
  auto* d = in.d == kNoSlot ? nullptr : w.lanes<T>(in.d);
  for (uint32_t rest = w.active; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const auto i = static_cast<size_t>(lane);
    uint64_t address = addresses[i];
    uint8_t* place = nullptr;
    if (only_shared || (address & kWindowMask) == kSharedWindow) {
      address &= ~kWindowMask;
      if (!check_shared(w, lane, address, sizeof(T))) continue;
      report_shared(w, lane, address,
                    w.block.shared.atomic(w.accessor(lane), static_cast<uint32_t>(address), sizeof(T)));
      place = w.block.shared.data() + address;
      ++w.counters().shared_wavefronts;
      ++w.counters().shared_wavefronts_least;
    } else {
      LanePointers pointers;
      access_global(w, 1U << lane, addresses, sizeof(T), GlobalUse::atomic, nullptr, pointers);
      place = pointers[i];
    }
    if (place == nullptr) continue;
    T old;
    std::memcpy(&old, place, sizeof(T));
    const T value = Op::template apply<T>(old, b[i], c[i]);
    std::memcpy(place, &value, sizeof(T));
    if (d != nullptr) d[i] = old;
  }
}

template <class Op>
Handler atomic_handler(Type type) {
  switch (type) {
    case Type::b32:
    case Type::u32:
      return run_atomic<uint32_t, Op>;
    case Type::s32:
      return run_atomic<int32_t, Op>;
    case Type::b64:
    case Type::u64:
      return run_atomic<uint64_t, Op>;
    case Type::s64:
      return run_atomic<int64_t, Op>;
    default:
      return nullptr;
  }
}

void translate_atom(Build& build) {
  const bool returns = build.base() == "atom";
  const Space space = take_space(build);
  take_hints(build);
  build.take("noftz");
  const bool add = build.take("add"), minimum = build.take("min"), maximum = build.take("max"),
             exchange = build.take("exch"), swap = build.take("cas"), increment = build.take("inc"),
             conjunction = build.take("and"), disjunction = build.take("or"), exclusive = build.take("xor");
  const Type type = build.need_type();
  size_t next = 0;
  if (returns) build.in.d = build.result(next++);
  const Build::AddressOperand address = build.address(build.operand(next++));
  build.in.a = address.base;
  build.in.offset = address.offset;
  build.in.target = (address.wide ? 1U : 0U) | (space == Space::shared ? 2U : 0U);
  build.in.b = build.source(next++, type);
  if (swap) build.in.c = build.source(next, type);
  build.in.unit = space == Space::shared ? Unit::shared_memory : Unit::global_memory;
  if (type == Type::f32 && add)
    build.in.run = run_atomic<float, AtomicAdd>;
  else if (type == Type::f64 && add)
    build.in.run = run_atomic<double, AtomicAdd>;
  else if (add)
    build.in.run = atomic_handler<AtomicAdd>(type);
  else if (minimum)
    build.in.run = atomic_handler<AtomicMin>(type);
  else if (maximum)
    build.in.run = atomic_handler<AtomicMax>(type);
  else if (exchange)
    build.in.run = atomic_handler<AtomicExchange>(type);
  else if (swap)
    build.in.run = atomic_handler<AtomicCompareSwap>(type);
  else if (increment)
    build.in.run = atomic_handler<AtomicIncrement>(type);
  else if (conjunction)
    build.in.run = atomic_handler<AtomicAnd>(type);
  else if (disjunction)
    build.in.run = atomic_handler<AtomicOr>(type);
  else if (exclusive)
    build.in.run = atomic_handler<AtomicXor>(type);
}

/// fence.proxy.async by all lanes: what they have seen written is there for wgmma. By some of them it is
/// taken to say nothing.
void run_proxy_fence(Warp& w, const Instruction&) {
  if (w.active == w.live()) w.fence_proxy();
}

void translate_fence(Build& build) {
  if (build.take("proxy") && build.take("async")) {
    const bool elsewhere = build.take("global");
    build.take_any({"shared::cta", "shared::cluster"});
    build.in.run = elsewhere ? [](Warp&, const Instruction&) {} : run_proxy_fence;
    build.in.unit = Unit::control;
    build.in.is_sync = !elsewhere;
    return;
  }
  // The machine keeps one order of memory; what a fence orders is checked where barriers are.
  build.take_any({"sc", "acq_rel", "acquire", "release", "cta", "cluster", "gpu", "sys", "gl", "level",
                  "alias", "async::generic", "mbarrier_init", "shared::cta", "shared::cluster", "global"});
  build.in.run = [](Warp&, const Instruction&) {};
  build.in.unit = Unit::control;
}

void translate_prefetch(Build& build) {
  build.take_any({"global", "L1", "L2", "tensormap"});
  if (build.operand_count() > 0) (void)build.address(build.operand(0));
  build.in.run = [](Warp&, const Instruction&) {};
  build.in.unit = Unit::global_memory;
}

constexpr Opcode kOpcodes[] = {{"ld", translate_ld},       {"ldu", translate_ld},
                               {"st", translate_st},       {"atom", translate_atom},
                               {"red", translate_atom},    {"membar", translate_fence},
                               {"fence", translate_fence}, {"prefetch", translate_prefetch}};

}  // namespace

std::span<const Opcode> memory_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
