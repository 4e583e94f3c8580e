// Bits, comparisons and choices.
#include <algorithm>

#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

template <class T>
struct And {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return static_cast<T>(a & b); });
  }
};
template <class T>
struct Or {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return static_cast<T>(a | b); });
  }
};
template <class T>
struct Xor {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return static_cast<T>(a ^ b); });
  }
};
template <class T>
struct Not {
  static void run(Warp& w, const Instruction& in) {
    unary<T, T>(w, in, [](T a) { return static_cast<T>(~a); });
  }
};

/// Shifts by the width and more give 0 (or the sign).
template <class T>
struct ShiftLeft {
  static void run(Warp& w, const Instruction& in) {
    ternary_with_count(w, in, [](T a, uint32_t n) {
      return n >= 8 * sizeof(T) ? T{0} : static_cast<T>(std::make_unsigned_t<T>(a) << n);
    });
  }
  template <class F>
  static void ternary_with_count(Warp& w, const Instruction& in, F f) {
    auto* d = w.lanes<T>(in.d);
    const auto* a = w.lanes<T>(in.a);
    const auto* n = w.lanes<uint32_t>(in.b);
    w.for_active([&](int i) { d[i] = f(a[i], n[i]); });
  }
};
template <class T>
struct ShiftRight {
  static void run(Warp& w, const Instruction& in) {
    ShiftLeft<T>::ternary_with_count(w, in, [](T a, uint32_t n) {
      if (n >= 8 * sizeof(T)) return static_cast<T>(a < 0 ? -1 : 0);
      return static_cast<T>(a >> n);
    });
  }
};
template <class T>
struct CountOnes {
  static void run(Warp& w, const Instruction& in) {
    unary<uint32_t, T>(w, in,
                       [](T a) { return static_cast<uint32_t>(std::popcount(std::make_unsigned_t<T>(a))); });
  }
};
template <class T>
struct CountLeadingZeros {
  static void run(Warp& w, const Instruction& in) {
    unary<uint32_t, T>(
        w, in, [](T a) { return static_cast<uint32_t>(std::countl_zero(std::make_unsigned_t<T>(a))); });
  }
};
template <class T>
struct Reverse {
  static void run(Warp& w, const Instruction& in) {
    unary<T, T>(w, in, [](T a) {
      T result = 0;
      for (size_t bit = 0; bit < 8 * sizeof(T); ++bit)
        result = static_cast<T>(result | ((a >> bit & 1) << (8 * sizeof(T) - 1 - bit)));
      return result;
    });
  }
};

void of_predicates(Build& build, Handler handler) {
  build.in.d = build.result(0);
  build.in.a = build.source(1, Type::pred);
  if (build.operand_count() > 2) build.in.b = build.source(2, Type::pred);
  build.in.run = handler;
}

template <class F>
void write_predicate(Warp& w, uint32_t offset, F value) {
  uint32_t& d = w.predicate(offset);
  d = (d & ~w.active) | (value & w.active);
}

void translate_bitwise(Build& build) {
  const std::string base(build.base());
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  if (type == Type::pred) {
    return of_predicates(
        build,
        base == "and"
            ? [](Warp& w,
                 const Instruction& in) { write_predicate(w, in.d, w.predicate(in.a) & w.predicate(in.b)); }
        : base == "or"
            ? [](Warp& w,
                 const Instruction& in) { write_predicate(w, in.d, w.predicate(in.a) | w.predicate(in.b)); }
        : base == "xor"
            ? [](Warp& w,
                 const Instruction& in) { write_predicate(w, in.d, w.predicate(in.a) ^ w.predicate(in.b)); }
            : Handler([](Warp& w, const Instruction& in) { write_predicate(w, in.d, ~w.predicate(in.a)); }));
  }
  build.in.issue_slots = slots_of(type);
  build.in.run = base == "and"   ? integer_handler<And>(type)
                 : base == "or"  ? integer_handler<Or>(type)
                 : base == "xor" ? integer_handler<Xor>(type)
                                 : integer_handler<Not>(type);
  take_operands(build, type);
}

void translate_shift(Build& build) {
  const bool left = build.base() == "shl";
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.issue_slots = slots_of(type);
  build.in.run = left ? integer_handler<ShiftLeft>(type) : integer_handler<ShiftRight>(type);
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, Type::u32);
}

/// Place of the highest bit that differs from the sign; all ones when there is none. With kShift: how far
/// left to bring it on top.
template <class T, bool kShift>
void run_bfind(Warp& w, const Instruction& in) {
  unary<uint32_t, T>(w, in, [](T a) {
    const auto bits = static_cast<std::make_unsigned_t<T>>(a < 0 ? ~a : a);
    if (bits == 0) return kAllLanes;
    const auto zeros = static_cast<uint32_t>(std::countl_zero(bits));
    return kShift ? zeros : static_cast<uint32_t>(8 * sizeof(T)) - 1 - zeros;
  });
}

void translate_bfind(Build& build) {
  const bool shift = build.take("shiftamt");
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  switch (type) {
    case Type::u32:
      build.in.run = shift ? run_bfind<uint32_t, true> : run_bfind<uint32_t, false>;
      break;
    case Type::s32:
      build.in.run = shift ? run_bfind<int32_t, true> : run_bfind<int32_t, false>;
      break;
    case Type::u64:
      build.in.run = shift ? run_bfind<uint64_t, true> : run_bfind<uint64_t, false>;
      break;
    case Type::s64:
      build.in.run = shift ? run_bfind<int64_t, true> : run_bfind<int64_t, false>;
      break;
    default:
      build.unknown("no such type");
  }
  take_operands(build, type);
}

void translate_count(Build& build) {
  const std::string base(build.base());
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.run = base == "popc"  ? integer_handler<CountOnes>(type)
                 : base == "clz" ? integer_handler<CountLeadingZeros>(type)
                                 : integer_handler<Reverse>(type);
  take_operands(build, type);
}

/// bfe d, a, position, length
template <class T>
struct ExtractField {
  static void run(Warp& w, const Instruction& in) {
    auto* d = w.lanes<T>(in.d);
    const auto* a = w.lanes<T>(in.a);
    const auto* position = w.lanes<uint32_t>(in.b);
    const auto* length = w.lanes<uint32_t>(in.c);
    constexpr uint32_t kBits = 8 * sizeof(T);
    w.for_active([&](int i) {
      const uint32_t first = position[i] & 0xFF, count = length[i] & 0xFF;
      T result = 0;
      if (count > 0) {
        const uint32_t top = std::min(first + count - 1, kBits - 1);
        const bool sign = std::is_signed_v<T> && (a[i] >> top & 1) != 0;
        for (uint32_t bit = 0; bit < kBits; ++bit) {
          const bool set = bit < count && first + bit < kBits ? (a[i] >> (first + bit) & 1) != 0 : sign;
          result = static_cast<T>(result | static_cast<T>(std::make_unsigned_t<T>(set ? 1 : 0) << bit));
        }
      }
      d[i] = result;
    });
  }
};

void translate_bfe(Build& build) {
  const Type type = build.need_type();
  if (size_of(type) < 4) build.unknown("no such type");
  build.in.unit = Unit::integer;
  build.in.run = integer_handler<ExtractField>(type);
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, Type::u32);
  build.in.c = build.source(3, Type::u32);
}

/// bfi d, a, b, position, length: a into b
template <class T>
struct InsertField {
  static void run(Warp& w, const Instruction& in) {
    auto* d = w.lanes<T>(in.d);
    const auto* a = w.lanes<T>(in.a);
    const auto* b = w.lanes<T>(in.b);
    const auto* position = w.lanes<uint32_t>(in.c);
    const auto* length = w.lanes<uint32_t>(in.e);
    constexpr uint32_t kBits = 8 * sizeof(T);
    w.for_active([&](int i) {
      const uint32_t first = position[i] & 0xFF, count = length[i] & 0xFF;
      T result = b[i];
      for (uint32_t bit = 0; bit < count && first + bit < kBits; ++bit) {
        const T place = static_cast<T>(T{1} << (first + bit));
        result = static_cast<T>((a[i] >> bit & 1) != 0 ? result | place : result & ~place);
      }
      d[i] = result;
    });
  }
};

void translate_bfi(Build& build) {
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.run = size_of(type) == 8 ? InsertField<uint64_t>::run : InsertField<uint32_t>::run;
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, type);
  build.in.c = build.source(3, Type::u32);
  build.in.e = build.source(4, Type::u32);
}

void run_prmt(Warp& w, const Instruction& in) {
  auto* d = w.lanes<uint32_t>(in.d);
  const auto* a = w.lanes<uint32_t>(in.a);
  const auto* b = w.lanes<uint32_t>(in.b);
  const auto* c = w.lanes<uint32_t>(in.c);
  w.for_active([&](int i) {
    const uint64_t bytes = uint64_t{b[i]} << 32 | a[i];
    uint32_t result = 0;
    for (uint32_t k = 0; k < 4; ++k) {
      const uint32_t selector = c[i] >> (4 * k) & 15;
      auto byte = static_cast<uint32_t>(bytes >> (8 * (selector & 7)) & 0xFF);
      if ((selector & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
      result |= byte << (8 * k);
    }
    d[i] = result;
  });
}

void translate_prmt(Build& build) {
  if (build.need_type() != Type::b32) build.unknown("no such type");
  build.in.unit = Unit::integer;
  build.in.run = run_prmt;
  take_operands(build, Type::b32);
}

void run_lop3(Warp& w, const Instruction& in) {
  auto* d = w.lanes<uint32_t>(in.d);
  const auto* a = w.lanes<uint32_t>(in.a);
  const auto* b = w.lanes<uint32_t>(in.b);
  const auto* c = w.lanes<uint32_t>(in.c);
  w.for_active([&](int i) {
    uint32_t result = 0;
    for (uint32_t term = 0; term < 8; ++term) {
      if ((in.offset >> term & 1) == 0) continue;
      result |= ((term & 4) != 0 ? a[i] : ~a[i]) & ((term & 2) != 0 ? b[i] : ~b[i]) &
                ((term & 1) != 0 ? c[i] : ~c[i]);
    }
    d[i] = result;
  });
}

void translate_lop3(Build& build) {
  build.need_type();
  build.in.unit = Unit::integer;
  build.in.run = run_lop3;
  build.in.d = build.result(0);
  build.in.a = build.source(1, Type::b32);
  build.in.b = build.source(2, Type::b32);
  build.in.c = build.source(3, Type::b32);
  build.in.offset = static_cast<int64_t>(build.operand(4).bits);
}

/// shf.l/r d, a, b, c: the upper (lower) word of b:a shifted left (right)
template <bool kLeft, bool kWrap>
void run_shf(Warp& w, const Instruction& in) {
  auto* d = w.lanes<uint32_t>(in.d);
  const auto* a = w.lanes<uint32_t>(in.a);
  const auto* b = w.lanes<uint32_t>(in.b);
  const auto* c = w.lanes<uint32_t>(in.c);
  w.for_active([&](int i) {
    const uint32_t n = kWrap ? c[i] & 31 : std::min(c[i], 32U);
    const uint64_t both = uint64_t{b[i]} << 32 | a[i];
    d[i] = static_cast<uint32_t>(kLeft ? (both << n) >> 32 : both >> n);
  });
}

void translate_shf(Build& build) {
  const bool left = build.take("l"), right = build.take("r"), wrap = build.take("wrap"),
             clamp = build.take("clamp");
  if (left == right || wrap == clamp || build.need_type() != Type::b32) build.unknown("no such form");
  build.in.unit = Unit::integer;
  build.in.run = left ? (wrap ? run_shf<true, true> : run_shf<true, false>)
                      : (wrap ? run_shf<false, true> : run_shf<false, false>);
  take_operands(build, Type::b32);
}

// ---- comparisons

enum class Compare { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan };

constexpr std::pair<std::string_view, Compare> kCompares[] = {
    {"eq", Compare::eq},   {"ne", Compare::ne},   {"lt", Compare::lt},   {"le", Compare::le},
    {"gt", Compare::gt},   {"ge", Compare::ge},   {"lo", Compare::lt},   {"ls", Compare::le},
    {"hi", Compare::gt},   {"hs", Compare::ge},   {"equ", Compare::equ}, {"neu", Compare::neu},
    {"ltu", Compare::ltu}, {"leu", Compare::leu}, {"gtu", Compare::gtu}, {"geu", Compare::geu},
    {"num", Compare::num}, {"nan", Compare::nan}};

/// Comparisons with a NaN are false, those ending in u true.
template <class T>
bool compare(Compare how, T a, T b) {
  const bool unordered = a != a || b != b;
  switch (how) {
    case Compare::eq:
      return a == b;
    case Compare::ne:
      return !unordered && a != b;
    case Compare::lt:
      return a < b;
    case Compare::le:
      return a <= b;
    case Compare::gt:
      return a > b;
    case Compare::ge:
      return a >= b;
    case Compare::equ:
      return unordered || a == b;
    case Compare::neu:
      return unordered || a != b;
    case Compare::ltu:
      return unordered || a < b;
    case Compare::leu:
      return unordered || a <= b;
    case Compare::gtu:
      return unordered || a > b;
    case Compare::geu:
      return unordered || a >= b;
    case Compare::num:
      return !unordered;
    case Compare::nan:
      return unordered;
  }
  return false;
}

template <class T, Compare kHow>
uint32_t compare_lanes(const T* a, const T* b) {
  uint32_t bits = 0;
  for (int i = 0; i < kWarpSize; ++i) bits |= static_cast<uint32_t>(compare(kHow, a[i], b[i])) << i;
  return bits;
}

template <class T>
uint32_t compare_lanes(Compare how, const T* a, const T* b) {
  switch (how) {
    case Compare::eq:
      return compare_lanes<T, Compare::eq>(a, b);
    case Compare::ne:
      return compare_lanes<T, Compare::ne>(a, b);
    case Compare::lt:
      return compare_lanes<T, Compare::lt>(a, b);
    case Compare::le:
      return compare_lanes<T, Compare::le>(a, b);
    case Compare::gt:
      return compare_lanes<T, Compare::gt>(a, b);
    case Compare::ge:
      return compare_lanes<T, Compare::ge>(a, b);
    default:
      break;
  }
  uint32_t bits = 0;
  for (int i = 0; i < kWarpSize; ++i) bits |= static_cast<uint32_t>(compare(how, a[i], b[i])) << i;
  return bits;
}

enum class Combine { none, conjunction, disjunction, exclusive };

/// in.offset: comparison, combination << 8, negation of the combined predicate << 16
template <class T>
struct SetPredicate {
  static void run(Warp& w, const Instruction& in) {
    const auto how = static_cast<Compare>(in.offset & 0xFF);
    const uint32_t holds = compare_lanes(how, w.lanes<T>(in.a), w.lanes<T>(in.b));
    const auto combine = static_cast<Combine>(in.offset >> 8 & 0xFF);
    uint32_t p = holds, q = ~holds;
    if (combine != Combine::none) {
      const uint32_t other = w.predicate(in.c) ^ ((in.offset >> 16 & 1) != 0 ? kAllLanes : 0);
      const auto with = [&](uint32_t x) {
        return combine == Combine::conjunction   ? x & other
               : combine == Combine::disjunction ? x | other
                                                 : x ^ other;
      };
      p = with(holds);
      q = with(~holds);
    }
    write_predicate(w, in.d, p);
    if (in.e != kNoSlot) write_predicate(w, in.e, q);
  }
};

Compare take_compare(Build& build) {
  for (const auto& [name, how] : kCompares) {
    if (build.take(name)) return how;
  }
  build.unknown("no comparison");
}

Handler comparison_handler(Build& build, Type type) {
  if (type == Type::f32) return SetPredicate<float>::run;
  if (type == Type::f64) return SetPredicate<double>::run;
  if (type == Type::f16 || type == Type::bf16 || size_of(type) == 1) build.unknown("no such type");
  return integer_handler<SetPredicate>(type);
}

void translate_setp(Build& build) {
  const Compare how = take_compare(build);
  build.take("ftz");
  const Combine combine = build.take("and")   ? Combine::conjunction
                          : build.take("or")  ? Combine::disjunction
                          : build.take("xor") ? Combine::exclusive
                                              : Combine::none;
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.issue_slots = slots_of(type);
  build.in.run = comparison_handler(build, type);
  build.in.d = build.result(0);
  if (!build.operand(0).second.empty()) build.in.e = build.result(build.operand(0).second[0]);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, type);
  build.in.offset = static_cast<int64_t>(how) | static_cast<int64_t>(combine) << 8;
  // Of two numbers: the assembler knows the result.
  if (build.sources.empty() && combine == Combine::none) build.in.issue_slots = 0;
  if (combine != Combine::none) {
    build.in.c = build.source(3, Type::pred);
    build.in.offset |= build.operand(3).negated ? 1 << 16 : 0;
  }
}

/// set.cmp.u32.type d, a, b: all ones or 0 (1.0F for a float result)
template <class T>
struct SetWord {
  static void run(Warp& w, const Instruction& in) {
    const uint32_t holds =
        compare_lanes(static_cast<Compare>(in.offset & 0xFF), w.lanes<T>(in.a), w.lanes<T>(in.b));
    const uint32_t yes = (in.offset >> 8) != 0 ? std::bit_cast<uint32_t>(1.0F) : kAllLanes;
    auto* d = w.lanes<uint32_t>(in.d);
    w.for_active([&](int i) { d[i] = (holds >> i & 1) != 0 ? yes : 0; });
  }
};

void translate_set(Build& build) {
  const Compare how = take_compare(build);
  build.take("ftz");
  const Type to = build.need_type();
  const Type type = build.need_type();
  if (size_of(to) != 4) build.unknown("no such type");
  build.in.unit = Unit::integer;
  build.in.run = type == Type::f32 ? SetWord<float>::run : integer_handler<SetWord>(type);
  build.in.offset = static_cast<int64_t>(how) | (to == Type::f32 ? 1 << 8 : 0);
  take_operands(build, type);
}

template <class T>
struct Select {
  static void run(Warp& w, const Instruction& in) {
    const uint32_t chosen = w.predicate(in.c) ^ static_cast<uint32_t>(in.offset);
    auto* d = w.lanes<T>(in.d);
    const auto* a = w.lanes<T>(in.a);
    const auto* b = w.lanes<T>(in.b);
    w.for_active([&](int i) { d[i] = (chosen >> i & 1) != 0 ? a[i] : b[i]; });
  }
};

void translate_selp(Build& build) {
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.issue_slots = size_of(type) == 8 ? 2 : 1;
  build.in.run = size_of(type) == 8   ? Select<uint64_t>::run
                 : size_of(type) == 2 ? Select<uint16_t>::run
                                      : Select<uint32_t>::run;
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, type);
  build.in.c = build.source(3, Type::pred);
  build.in.offset = build.operand(3).negated ? -1 : 0;
}

constexpr Opcode kOpcodes[] = {
    {"and", translate_bitwise}, {"or", translate_bitwise}, {"xor", translate_bitwise},
    {"not", translate_bitwise}, {"shl", translate_shift},  {"shr", translate_shift},
    {"popc", translate_count},  {"clz", translate_count},  {"brev", translate_count},
    {"bfind", translate_bfind}, {"bfe", translate_bfe},    {"bfi", translate_bfi},
    {"prmt", translate_prmt},   {"lop3", translate_lop3},  {"shf", translate_shf},
    {"setp", translate_setp},   {"set", translate_set},    {"selp", translate_selp}};

}  // namespace

std::span<const Opcode> logic_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
