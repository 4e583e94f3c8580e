// Moves, packing and unpacking, conversions of numbers and of addresses.
#include <algorithm>
#include <limits>

#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

template <class T>
void run_copy(Warp& w, const Instruction& in) {
  unary<T, T>(w, in, [](T a) { return a; });
}

void copy_predicate(Warp& w, const Instruction& in) {
  uint32_t& d = w.predicate(in.d);
  d = (d & ~w.active) | (w.predicate(in.a) & w.active);
}

/// d = {list...}, first element lowest
template <class Word, class Part>
void run_pack(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Word>(in.d);
  const uint32_t* list = w.list(in);
  w.for_active([&](int i) {
    Word result = 0;
    for (uint32_t k = 0; k < in.list_size; ++k)
      result =
          static_cast<Word>(result | static_cast<Word>(w.lanes<Part>(list[k])[i]) << (8 * sizeof(Part) * k));
    d[i] = result;
  });
}

template <class Word, class Part>
void run_unpack(Warp& w, const Instruction& in) {
  const auto* a = w.lanes<Word>(in.a);
  const uint32_t* list = w.list(in);
  w.for_active([&](int i) {
    const Word value = a[i];
    for (uint32_t k = 0; k < in.list_size; ++k)
      w.lanes<Part>(list[k])[i] = static_cast<Part>(value >> (8 * sizeof(Part) * k));
  });
}

void translate_mov(Build& build) {
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.issue_slots = 0;  // the assembler renames registers
  const bool packs = build.operand(1).kind == Operand::Kind::vector;
  const bool unpacks = build.operand(0).kind == Operand::Kind::vector;
  if (packs || unpacks) {
    const Operand& vector = build.operand(packs ? 1 : 0);
    const int part_bytes = size_of(type) / static_cast<int>(vector.elements.size());
    const Type part = part_bytes == 4 ? Type::b32 : Type::b16;
    if (part_bytes != 4 && part_bytes != 2) build.unknown("parts of a byte");
    if (packs) {
      build.in.d = build.result(0);
      build.source_list(1, part);
    } else {
      build.in.a = build.source(1, type);
      build.result_list(0);
    }
    if (size_of(type) == 8 && part_bytes == 4)
      build.in.run = packs ? run_pack<uint64_t, uint32_t> : run_unpack<uint64_t, uint32_t>;
    else if (size_of(type) == 8)
      build.in.run = packs ? run_pack<uint64_t, uint16_t> : run_unpack<uint64_t, uint16_t>;
    else
      build.in.run = packs ? run_pack<uint32_t, uint16_t> : run_unpack<uint32_t, uint16_t>;
    if (part_bytes == 2) build.in.issue_slots = 1;
    return;
  }
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.run = type == Type::pred   ? copy_predicate
                 : size_of(type) == 8 ? run_copy<uint64_t>
                 : size_of(type) == 2 ? run_copy<uint16_t>
                                      : Handler(run_copy<uint32_t>);
  if (build.operand(1).kind == Operand::Kind::special) build.in.issue_slots = 1;
}

// ---- cvt

enum class Rounding { none, nearest, zero, down, up };  // of a conversion to an integer, or within floats

template <class To, class From, Rounding kRounding>
void run_float_to_integer(Warp& w, const Instruction& in) {
  unary<To, From>(w, in, [](From value) {
    const From rounded = kRounding == Rounding::zero   ? std::trunc(value)
                         : kRounding == Rounding::down ? std::floor(value)
                         : kRounding == Rounding::up   ? std::ceil(value)
                                                       : std::nearbyint(value);
    // Out of range saturates; a NaN is 0.
    if (rounded != rounded) return To{0};
    if (rounded <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (rounded >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(rounded);
  });
}

template <class From, Rounding kRounding>
Handler float_to_integer(Type to) {
  switch (to) {
    case Type::u16:
      return run_float_to_integer<uint16_t, From, kRounding>;
    case Type::s16:
      return run_float_to_integer<int16_t, From, kRounding>;
    case Type::u32:
      return run_float_to_integer<uint32_t, From, kRounding>;
    case Type::s32:
      return run_float_to_integer<int32_t, From, kRounding>;
    case Type::u64:
      return run_float_to_integer<uint64_t, From, kRounding>;
    case Type::s64:
      return run_float_to_integer<int64_t, From, kRounding>;
    default:
      return nullptr;
  }
}

template <class From>
Handler float_to_integer(Type to, Rounding rounding) {
  switch (rounding) {
    case Rounding::zero:
      return float_to_integer<From, Rounding::zero>(to);
    case Rounding::down:
      return float_to_integer<From, Rounding::down>(to);
    case Rounding::up:
      return float_to_integer<From, Rounding::up>(to);
    case Rounding::nearest:
      return float_to_integer<From, Rounding::nearest>(to);
    default:
      return nullptr;
  }
}

template <class To, class From>
void run_cast(Warp& w, const Instruction& in) {
  unary<To, From>(w, in, [](From value) { return static_cast<To>(value); });
}

template <class From>
Handler cast_from(Type to) {
  switch (to) {
    case Type::u8:
      return run_cast<uint8_t, From>;
    case Type::s8:
      return run_cast<int8_t, From>;
    case Type::b16:
    case Type::u16:
      return run_cast<uint16_t, From>;
    case Type::s16:
      return run_cast<int16_t, From>;
    case Type::b32:
    case Type::u32:
      return run_cast<uint32_t, From>;
    case Type::s32:
      return run_cast<int32_t, From>;
    case Type::b64:
    case Type::u64:
      return run_cast<uint64_t, From>;
    case Type::s64:
      return run_cast<int64_t, From>;
    case Type::f32:
      return run_cast<float, From>;
    case Type::f64:
      return run_cast<double, From>;
    default:
      return nullptr;
  }
}

/// An integer conversion where a register is wider than the type it holds: in.offset has the types.
template <class To, class From>
void run_wide_cast(Warp& w, const Instruction& in) {
  const auto to = static_cast<Type>(in.offset & 0xFF), from = static_cast<Type>(in.offset >> 8);
  const auto extended = [](Type type, uint64_t bits) {
    const int shift = 64 - 8 * size_of(type);
    return is_signed(type) ? static_cast<uint64_t>(static_cast<int64_t>(bits << shift) >> shift)
                           : bits << shift >> shift;
  };
  unary<To, From>(w, in, [&](From value) { return static_cast<To>(extended(to, extended(from, value))); });
}

template <class To>
Handler wide_cast(int from_bytes) {
  return from_bytes == 2   ? run_wide_cast<To, uint16_t>
         : from_bytes == 4 ? run_wide_cast<To, uint32_t>
                           : run_wide_cast<To, uint64_t>;
}

Handler wide_cast(int to_bytes, int from_bytes) {
  return to_bytes == 2   ? wide_cast<uint16_t>(from_bytes)
         : to_bytes == 4 ? wide_cast<uint32_t>(from_bytes)
                         : wide_cast<uint64_t>(from_bytes);
}

/// A byte in a 16-bit or wider register as a float.
template <class Register, class Byte>
void run_byte_to_float(Warp& w, const Instruction& in) {
  unary<float, Register>(w, in, [](Register value) { return static_cast<float>(static_cast<Byte>(value)); });
}

Handler cast(Type to, Type from) {
  switch (from) {
    case Type::b16:
    case Type::u16:
      return cast_from<uint16_t>(to);
    case Type::s16:
      return cast_from<int16_t>(to);
    case Type::b32:
    case Type::u32:
      return cast_from<uint32_t>(to);
    case Type::s32:
      return cast_from<int32_t>(to);
    case Type::b64:
    case Type::u64:
      return cast_from<uint64_t>(to);
    case Type::s64:
      return cast_from<int64_t>(to);
    case Type::f32:
      return to == Type::f64 || to == Type::f32 ? cast_from<float>(to) : nullptr;
    case Type::f64:
      return to == Type::f32 ? cast_from<double>(to) : nullptr;
    default:
      return nullptr;
  }
}

template <Rounding kRounding>
void run_round_float(Warp& w, const Instruction& in) {
  unary<float, float>(w, in, [](float value) {
    return kRounding == Rounding::zero   ? std::trunc(value)
           : kRounding == Rounding::down ? std::floor(value)
           : kRounding == Rounding::up   ? std::ceil(value)
                                         : std::nearbyint(value);
  });
}

/// cvt.rn.bf16x2.f32 d, a, b: a becomes the upper half.
template <uint16_t (*kNarrow)(float), bool kRelu>
void run_narrow_two(Warp& w, const Instruction& in) {
  auto* d = w.lanes<uint32_t>(in.d);
  const auto* a = w.lanes<float>(in.a);
  const auto* b = w.lanes<float>(in.b);
  w.for_active([&](int i) {
    const float high = kRelu ? std::fmax(a[i], 0.0F) : a[i];
    const float low = kRelu ? std::fmax(b[i], 0.0F) : b[i];
    d[i] = uint32_t{kNarrow(high)} << 16 | kNarrow(low);
  });
}

template <uint16_t (*kNarrow)(float)>
void run_narrow(Warp& w, const Instruction& in) {
  unary<uint16_t, float>(w, in, kNarrow);
}

template <float (*kWiden)(uint16_t)>
void run_widen(Warp& w, const Instruction& in) {
  unary<float, uint16_t>(w, in, kWiden);
}

void run_to_tf32(Warp& w, const Instruction& in) {
  unary<uint32_t, float>(w, in, [](float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    return (bits + 0x1000) & 0xFFFFE000;  // ties away from zero
  });
}

void translate_cvt(Build& build) {
  const Rounding to_integer = build.take("rni")   ? Rounding::nearest
                              : build.take("rzi") ? Rounding::zero
                              : build.take("rmi") ? Rounding::down
                              : build.take("rpi") ? Rounding::up
                                                  : Rounding::none;
  const bool nearest = build.take("rn");
  const bool nearest_away = build.take("rna");
  const bool relu = build.take("relu");
  build.take("ftz");
  const Type to = build.need_type();
  const Type from = build.need_type();
  build.in.unit = Unit::integer;
  const bool floats = unit_of(to) == Unit::fp32 && unit_of(from) == Unit::fp32;
  if (to == Type::bf16x2 || to == Type::f16x2) {
    if (!nearest || from != Type::f32) build.unknown("no such conversion");
    build.in.run = to == Type::bf16x2
                       ? (relu ? run_narrow_two<float_to_bf16, true> : run_narrow_two<float_to_bf16, false>)
                       : (relu ? run_narrow_two<float_to_half, true> : run_narrow_two<float_to_half, false>);
    build.in.d = build.result(0);
    build.in.a = build.source(1, from);
    build.in.b = build.source(2, from);
    return;
  }
  build.in.d = build.result(0);
  // Of integers, a register may be wider than the type.
  const bool integers = unit_of(to) != Unit::fp32 && unit_of(from) != Unit::fp32;
  const auto bytes_in_register = [&](const Operand& operand, Type type) {
    return operand.kind == Operand::Kind::reg ? build.register_bytes(operand) : std::max(size_of(type), 2);
  };
  const int to_bytes = bytes_in_register(build.operand(0), to),
            from_bytes = bytes_in_register(build.operand(1), from);
  const bool from_byte = size_of(from) == 1;
  build.in.a = build.source(1, from_bytes == 8 ? Type::b64 : from_bytes == 4 ? Type::b32 : Type::b16);
  if (integers && (to_bytes != size_of(to) || from_bytes != size_of(from))) {
    build.in.run = wide_cast(to_bytes, from_bytes);
    build.in.offset = static_cast<int64_t>(to) | static_cast<int64_t>(from) << 8;
    return;
  }
  if (to == Type::tf32 && from == Type::f32 && (nearest_away || nearest)) {
    build.in.run = run_to_tf32;
  } else if (from == Type::f32 && to == Type::bf16 && nearest) {
    build.in.run = run_narrow<float_to_bf16>;
  } else if (from == Type::f32 && to == Type::f16 && nearest) {
    build.in.run = run_narrow<float_to_half>;
  } else if (to == Type::f32 && from == Type::bf16) {
    build.in.run = run_widen<bf16_to_float>;
  } else if (to == Type::f32 && from == Type::f16) {
    build.in.run = run_widen<half_to_float>;
  } else if (floats && to == Type::f32 && from == Type::f32 && to_integer != Rounding::none) {
    build.in.run = to_integer == Rounding::zero   ? run_round_float<Rounding::zero>
                   : to_integer == Rounding::down ? run_round_float<Rounding::down>
                   : to_integer == Rounding::up   ? run_round_float<Rounding::up>
                                                  : run_round_float<Rounding::nearest>;
  } else if (from == Type::f32 && !floats) {
    build.in.run = float_to_integer<float>(to, to_integer);
    build.in.unit = Unit::special_function;
  } else if (from == Type::f64 && !floats) {
    build.in.run = float_to_integer<double>(to, to_integer);
    build.in.unit = Unit::special_function;
  } else if (from_byte && to == Type::f32) {
    const bool negative = from == Type::s8;
    build.in.run =
        from_bytes == 2
            ? (negative ? run_byte_to_float<uint16_t, int8_t> : run_byte_to_float<uint16_t, uint8_t>)
            : (negative ? run_byte_to_float<uint32_t, int8_t> : run_byte_to_float<uint32_t, uint8_t>);
    build.in.unit = Unit::special_function;
  } else {
    build.in.run = cast(to, from);
    if (unit_of(to) != Unit::fp32)
      build.in.issue_slots = size_of(to) <= size_of(from) ? 0 : 1;
    else
      build.in.unit = Unit::special_function;
  }
}

/// Generic addresses carry their space in the top byte; global ones are as they are.
template <class From>
void run_to_window(Warp& w, const Instruction& in) {
  const auto window = static_cast<uint64_t>(in.offset);
  unary<uint64_t, From>(w, in, [window](From a) { return uint64_t{a} | window; });
}
template <class To>
void run_from_window(Warp& w, const Instruction& in) {
  const auto window = static_cast<uint64_t>(in.offset);
  const auto* a = w.lanes<uint64_t>(in.a);
  w.for_active([&](int i) {
    if ((a[i] & kWindowMask) != window)
      w.report(Fault::invalid_operation, i, a[i], "the address is not of this space");
  });
  unary<To, uint64_t>(w, in, [](uint64_t value) { return static_cast<To>(value & ~kWindowMask); });
}

void translate_cvta(Build& build) {
  const bool to_space = build.take("to");
  const bool shared = build.take_any({"shared", "shared::cta"});
  const bool local = build.take("local");
  const bool param = build.take("param");
  build.take_any({"global", "const"});
  const Type type = build.need_type();
  build.in.unit = Unit::integer;
  build.in.issue_slots = 0;
  build.in.d = build.result(0);
  const uint64_t window = shared ? kSharedWindow : local ? kLocalWindow : param ? kParamWindow : 0;
  build.in.offset = static_cast<int64_t>(window);
  build.in.a = build.source(1, type);
  if (size_of(type) != 8) build.unknown("no such type");
  build.in.run = window == 0 ? run_copy<uint64_t>
                 : to_space  ? run_from_window<uint64_t>
                             : run_to_window<uint64_t>;
}

constexpr Opcode kOpcodes[] = {{"mov", translate_mov}, {"cvt", translate_cvt}, {"cvta", translate_cvta}};

}  // namespace

std::span<const Opcode> move_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
