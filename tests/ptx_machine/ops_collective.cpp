// What the lanes of a warp do together: shuffles, votes, reductions, the warp's own barrier. Each waits until
// all lanes of its member mask have come.
#include <algorithm>

#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

/// The member mask all active lanes agree on; false when the instruction has to wait for others.
bool gather_members(Warp& w, uint32_t mask_register, uint32_t& members) {
  const auto* masks = w.lanes<uint32_t>(mask_register);
  const int first = std::countr_zero(w.active);
  members = masks[first];
  uint32_t alike = 0;
  w.for_active([&](int i) { alike |= (masks[i] == members ? 1U : 0U) << i; });
  if (alike != w.active) {
    w.report(Fault::bad_membermask, first, members, "lanes name different masks");
  } else if ((w.active & ~members) != 0) {
    w.report(Fault::bad_membermask, std::countr_zero(w.active & ~members), members,
             "a lane outside of the mask executes it");
  } else if ((members & ~w.live()) != 0) {
    w.report(Fault::bad_membermask, first, members, "the mask names lanes that have ended");
  }
  return w.gather(members);
}

enum class Shuffle { idx, up, down, bfly };

/// shfl.sync d|p, a, b, c, mask: c holds the clamp (5 bits) and the segment mask (from bit 8).
template <Shuffle kHow>
void run_shfl(Warp& w, const Instruction& in) {
  uint32_t members = 0;
  if (!gather_members(w, in.e, members)) return;
  const auto* a = w.lanes<uint32_t>(in.a);
  const auto* b = w.lanes<uint32_t>(in.b);
  const auto* c = w.lanes<uint32_t>(in.c);
  std::array<uint32_t, kWarpSize> values;
  uint32_t in_range = 0;
  w.for_active([&](int i) {
    const auto lane = static_cast<uint32_t>(i);
    const uint32_t clamp = c[i] & 31, segment = c[i] >> 8 & 31, offset = b[i] & 31;
    const uint32_t last = (lane & segment) | (clamp & ~segment);
    const uint32_t lowest = lane & segment;
    uint32_t from = lane;
    bool valid = true;
    switch (kHow) {
      case Shuffle::up:
        valid = static_cast<int>(lane) - static_cast<int>(offset) >= static_cast<int>(last);
        from = lane - offset;
        break;
      case Shuffle::down:
        valid = lane + offset <= last;
        from = lane + offset;
        break;
      case Shuffle::bfly:
        valid = (lane ^ offset) <= last;
        from = lane ^ offset;
        break;
      case Shuffle::idx:
        from = lowest | (offset & ~segment);
        valid = from <= last;
        break;
    }
    if (!valid) from = lane;
    if ((w.active >> from & 1) == 0)
      w.report(Fault::bad_membermask, i, from, "reads from a lane that does not take part");
    values[static_cast<size_t>(i)] = a[from];
    in_range |= (valid ? 1U : 0U) << i;
  });
  auto* d = w.lanes<uint32_t>(in.d);
  w.for_active([&](int i) { d[i] = values[static_cast<size_t>(i)]; });
  if (in.list_size != 0) {
    uint32_t& p = w.predicate(w.list(in)[0]);
    p = (p & ~w.active) | in_range;
  }
  ++w.counters().shuffles;
}

void translate_shfl(Build& build) {
  if (!build.take("sync")) build.unknown("without .sync");
  const bool idx = build.take("idx"), up = build.take("up"), down = build.take("down"),
             bfly = build.take("bfly");
  if (build.need_type() != Type::b32) build.unknown("no such type");
  build.in.run = idx    ? run_shfl<Shuffle::idx>
                 : up   ? run_shfl<Shuffle::up>
                 : down ? run_shfl<Shuffle::down>
                 : bfly ? run_shfl<Shuffle::bfly>
                        : nullptr;
  build.in.unit = Unit::shared_memory;
  build.in.d = build.result(0);
  if (!build.operand(0).second.empty()) {
    const uint32_t p = build.result(build.operand(0).second[0]);
    build.in.list = static_cast<uint32_t>(build.scope().program().lists.size());
    build.in.list_size = 1;
    build.scope().program().lists.push_back(p);
  }
  build.in.a = build.source(1, Type::b32);
  build.in.b = build.source(2, Type::b32);
  build.in.c = build.source(3, Type::b32);
  build.in.e = build.source(4, Type::b32);
}

enum class Vote { all, any, uniform, ballot };

template <Vote kHow>
void run_vote(Warp& w, const Instruction& in) {
  uint32_t members = 0;
  if (!gather_members(w, in.b, members)) return;
  const uint32_t yes = (w.predicate(in.a) ^ static_cast<uint32_t>(in.offset)) & members & w.active;
  if (kHow == Vote::ballot) {
    auto* d = w.lanes<uint32_t>(in.d);
    w.for_active([&](int i) { d[i] = yes; });
    return;
  }
  const uint32_t voters = members & w.active;
  const bool holds = kHow == Vote::all   ? yes == voters
                     : kHow == Vote::any ? yes != 0
                                         : yes == voters || yes == 0;
  uint32_t& d = w.predicate(in.d);
  d = (d & ~w.active) | (holds ? w.active : 0);
}

void translate_vote(Build& build) {
  if (!build.take("sync")) build.unknown("without .sync");
  const bool all = build.take("all"), any = build.take("any"), uniform = build.take("uni"),
             ballot = build.take("ballot");
  build.need_type();
  build.in.run = all       ? run_vote<Vote::all>
                 : any     ? run_vote<Vote::any>
                 : uniform ? run_vote<Vote::uniform>
                 : ballot  ? run_vote<Vote::ballot>
                           : nullptr;
  build.in.unit = Unit::integer;
  build.in.d = build.result(0);
  build.in.a = build.source(1, Type::pred);
  build.in.offset = build.operand(1).negated ? -1 : 0;
  build.in.b = build.source(2, Type::b32);
}

template <class T, bool kAll>
void run_match(Warp& w, const Instruction& in) {
  uint32_t members = 0;
  if (!gather_members(w, in.b, members)) return;
  const auto* a = w.lanes<T>(in.a);
  std::array<uint32_t, kWarpSize> alike{};
  w.for_active([&](int i) {
    w.for_active([&](int j) { alike[static_cast<size_t>(i)] |= (a[i] == a[j] ? 1U : 0U) << j; });
  });
  auto* d = w.lanes<uint32_t>(in.d);
  uint32_t all = 0;
  w.for_active([&](int i) {
    const uint32_t same = alike[static_cast<size_t>(i)];
    if (same == w.active) all |= 1U << i;
    d[i] = kAll && same != w.active ? 0 : same;
  });
  if (kAll && in.c != kNoSlot) {
    uint32_t& p = w.predicate(in.c);
    p = (p & ~w.active) | all;
  }
}

void translate_match(Build& build) {
  if (!build.take("sync")) build.unknown("without .sync");
  const bool all = build.take("all");
  build.take("any");
  const Type type = build.need_type();
  build.in.run = size_of(type) == 8 ? (all ? run_match<uint64_t, true> : run_match<uint64_t, false>)
                                    : (all ? run_match<uint32_t, true> : run_match<uint32_t, false>);
  build.in.unit = Unit::integer;
  build.in.d = build.result(0);
  if (!build.operand(0).second.empty()) build.in.c = build.result(build.operand(0).second[0]);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, Type::b32);
}

struct Sum {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct Smallest {
  template <class T>
  static T apply(T a, T b) {
    return std::min(a, b);
  }
};
struct Largest {
  template <class T>
  static T apply(T a, T b) {
    return std::max(a, b);
  }
};
struct And {
  template <class T>
  static T apply(T a, T b) {
    return a & b;
  }
};
struct Or {
  template <class T>
  static T apply(T a, T b) {
    return a | b;
  }
};
struct Xor {
  template <class T>
  static T apply(T a, T b) {
    return a ^ b;
  }
};

template <class T, class Op>
void run_redux(Warp& w, const Instruction& in) {
  uint32_t members = 0;
  if (!gather_members(w, in.b, members)) return;
  const auto* a = w.lanes<T>(in.a);
  bool first = true;
  T result{};
  w.for_active([&](int i) {
    result = first ? a[i] : Op::template apply<T>(result, a[i]);
    first = false;
  });
  auto* d = w.lanes<T>(in.d);
  w.for_active([&](int i) { d[i] = result; });
}

void translate_redux(Build& build) {
  if (!build.take("sync")) build.unknown("without .sync");
  const bool add = build.take("add"), minimum = build.take("min"), maximum = build.take("max"),
             conjunction = build.take("and"), disjunction = build.take("or"), exclusive = build.take("xor");
  const Type type = build.need_type();
  const bool negative = type == Type::s32;
  if (size_of(type) != 4 || type == Type::f32) build.unknown("no such type");
  build.in.run = add           ? run_redux<uint32_t, Sum>
                 : minimum     ? (negative ? run_redux<int32_t, Smallest> : run_redux<uint32_t, Smallest>)
                 : maximum     ? (negative ? run_redux<int32_t, Largest> : run_redux<uint32_t, Largest>)
                 : conjunction ? run_redux<uint32_t, And>
                 : disjunction ? run_redux<uint32_t, Or>
                 : exclusive   ? run_redux<uint32_t, Xor>
                               : nullptr;
  build.in.unit = Unit::integer;
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, Type::b32);
}

void translate_activemask(Build& build) {
  build.need_type();
  build.in.run = [](Warp& w, const Instruction& in) {
    auto* d = w.lanes<uint32_t>(in.d);
    w.for_active([&](int i) { d[i] = w.active; });
  };
  build.in.unit = Unit::integer;
  build.in.d = build.result(0);
}

/// elect.sync d|p, mask: the lowest lane of the mask.
void translate_elect(Build& build) {
  if (!build.take("sync")) build.unknown("without .sync");
  build.in.run = [](Warp& w, const Instruction& in) {
    uint32_t members = 0;
    if (!gather_members(w, in.a, members)) return;
    const auto leader = static_cast<uint32_t>(std::countr_zero(members & w.active));
    auto* d = w.lanes<uint32_t>(in.d);
    w.for_active([&](int i) { d[i] = leader; });
    uint32_t& p = w.predicate(in.c);
    p = (p & ~w.active) | 1U << leader;
  };
  build.in.unit = Unit::integer;
  build.in.d = build.result(0);
  build.in.c = build.result(build.operand(0).second.at(0));
  build.in.a = build.source(1, Type::b32);
}

constexpr Opcode kOpcodes[] = {{"shfl", translate_shfl},
                               {"vote", translate_vote},
                               {"match", translate_match},
                               {"redux", translate_redux},
                               {"activemask", translate_activemask},
                               {"elect", translate_elect}};

}  // namespace

std::span<const Opcode> collective_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
