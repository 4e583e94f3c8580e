// Arithmetic on f16 and bf16, one number or two in a word. Each is computed exactly and rounded once.
#include <limits>

#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

/// The double as a float rounded to odd, from where rounding to fewer bits is the rounding of the double itself.
float to_odd(double value) {
  auto result = static_cast<float>(value);
  if (static_cast<double>(result) == value || value != value) return result;
  auto bits = std::bit_cast<uint32_t>(result);
  if (std::fabs(static_cast<double>(result)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

struct Bf16 {
  static double widen(uint16_t bits) { return static_cast<double>(bf16_to_float(bits)); }
  static uint16_t narrow(double value) { return float_to_bf16(to_odd(value)); }
};
struct Half {
  static double widen(uint16_t bits) { return static_cast<double>(half_to_float(bits)); }
  static uint16_t narrow(double value) { return float_to_half(to_odd(value)); }
};

struct Sum {
  static double apply(double a, double b, double) { return a + b; }
};
struct Difference {
  static double apply(double a, double b, double) { return a - b; }
};
struct Product {
  static double apply(double a, double b, double) { return a * b; }
};
struct Fused {
  static double apply(double a, double b, double c) { return a * b + c; }
};
struct Smaller {
  static double apply(double a, double b, double) { return std::fmin(a, b); }
};
struct Larger {
  static double apply(double a, double b, double) { return std::fmax(a, b); }
};
struct Opposite {
  static double apply(double a, double, double) { return -a; }
};
struct Magnitude {
  static double apply(double a, double, double) { return std::fabs(a); }
};

template <class Format, class Op, class Word>
void run_packed(Warp& w, const Instruction& in) {
  auto* d = w.lanes<Word>(in.d);
  const auto* a = w.lanes<Word>(in.a);
  const auto* b = w.lanes<Word>(in.b == kNoSlot ? in.a : in.b);
  const auto* c = w.lanes<Word>(in.c == kNoSlot ? in.a : in.c);
  w.for_active([&](int i) {
    Word result = 0;
    for (size_t shift = 0; shift < 8 * sizeof(Word); shift += 16) {
      const uint16_t part = Format::narrow(Op::apply(Format::widen(static_cast<uint16_t>(a[i] >> shift)),
                                                     Format::widen(static_cast<uint16_t>(b[i] >> shift)),
                                                     Format::widen(static_cast<uint16_t>(c[i] >> shift))));
      result = static_cast<Word>(result | Word{part} << shift);
    }
    d[i] = result;
  });
}

template <class Op>
Handler handler_of(Type type) {
  switch (type) {
    case Type::bf16:
      return run_packed<Bf16, Op, uint16_t>;
    case Type::bf16x2:
      return run_packed<Bf16, Op, uint32_t>;
    case Type::f16:
      return run_packed<Half, Op, uint16_t>;
    case Type::f16x2:
      return run_packed<Half, Op, uint32_t>;
    default:
      return nullptr;
  }
}

void translate_packed(Build& build) {
  const std::string base(build.base());
  build.take("rn");
  const Type type = build.need_type();
  build.in.run = base == "add"   ? handler_of<Sum>(type)
                 : base == "sub" ? handler_of<Difference>(type)
                 : base == "mul" ? handler_of<Product>(type)
                 : base == "fma" ? handler_of<Fused>(type)
                 : base == "min" ? handler_of<Smaller>(type)
                 : base == "max" ? handler_of<Larger>(type)
                 : base == "neg" ? handler_of<Opposite>(type)
                 : base == "abs" ? handler_of<Magnitude>(type)
                                 : nullptr;
  build.in.unit = Unit::fp32;
  take_operands(build, type);
}

constexpr Opcode kOpcodes[] = {{"add", translate_packed}, {"sub", translate_packed},
                               {"mul", translate_packed}, {"fma", translate_packed},
                               {"min", translate_packed}, {"max", translate_packed},
                               {"neg", translate_packed}, {"abs", translate_packed}};

}  // namespace

std::span<const Opcode> packed_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
