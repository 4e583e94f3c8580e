// Arithmetic on integers and floats, and the special functions.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "tests/ptx_machine/approximate.h"
#include "tests/ptx_machine/handlers.h"

namespace ptx {
namespace {

// ---- integers. Arithmetic wraps; it is done on unsigned types.

template <class T>
using Unsigned = std::make_unsigned_t<T>;

template <class T>
struct Add {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b)); });
  }
};
template <class T>
struct Sub {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b)); });
  }
};
template <class T>
struct MulLow {
  static T apply(T a, T b) { return static_cast<T>(uint64_t(a) * uint64_t(b)); }
  static void run(Warp& w, const Instruction& in) { binary<T, T>(w, in, apply); }
};
template <class T>
struct MulHigh {
  static T apply(T a, T b) {
    if constexpr (sizeof(T) == 8) {
      using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>((Wide(a) * Wide(b)) >> 64);
    } else {
      using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
      return static_cast<T>((Wide(a) * Wide(b)) >> (8 * sizeof(T)));
    }
  }
  static void run(Warp& w, const Instruction& in) { binary<T, T>(w, in, apply); }
};
template <class T>
struct Wider;
template <>
struct Wider<uint16_t> {
  using type = uint32_t;
};
template <>
struct Wider<int16_t> {
  using type = int32_t;
};
template <>
struct Wider<uint32_t> {
  using type = uint64_t;
};
template <>
struct Wider<int32_t> {
  using type = int64_t;
};
template <class T>
struct MulWide {
  static void run(Warp& w, const Instruction& in) {
    if constexpr (sizeof(T) < 8) {
      using W = typename Wider<T>::type;
      binary<W, T>(w, in, [](T a, T b) { return static_cast<W>(W(a) * W(b)); });
    }
  }
};
template <class T>
struct MadLow {
  static void run(Warp& w, const Instruction& in) {
    ternary<T, T, T>(w, in,
                     [](T a, T b, T c) { return static_cast<T>(uint64_t(a) * uint64_t(b) + uint64_t(c)); });
  }
};
template <class T>
struct MadHigh {
  static void run(Warp& w, const Instruction& in) {
    ternary<T, T, T>(w, in, [](T a, T b, T c) { return static_cast<T>(MulHigh<T>::apply(a, b) + c); });
  }
};
template <class T>
struct MadWide {
  static void run(Warp& w, const Instruction& in) {
    if constexpr (sizeof(T) < 8) {
      using W = typename Wider<T>::type;
      ternary<W, T, W>(w, in, [](T a, T b, W c) {
        return static_cast<W>(std::make_unsigned_t<W>(W(a) * W(b)) + std::make_unsigned_t<W>(c));
      });
    }
  }
};
template <class T>
struct Div {
  static void run(Warp& w, const Instruction& in) {
    // What PTX leaves open (division by zero) is all ones, as on the hardware.
    binary<T, T>(w, in, [](T a, T b) {
      if (b == 0) return static_cast<T>(~T{0});
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a));
      }
      return static_cast<T>(a / b);
    });
  }
};
template <class T>
struct Rem {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) {
      if (b == 0) return a;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return T{0};
      }
      return static_cast<T>(a % b);
    });
  }
};
template <class T>
struct Min {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return std::min(a, b); });
  }
};
template <class T>
struct Max {
  static void run(Warp& w, const Instruction& in) {
    binary<T, T>(w, in, [](T a, T b) { return std::max(a, b); });
  }
};
template <class T>
struct Negate {
  static void run(Warp& w, const Instruction& in) {
    unary<T, T>(w, in, [](T a) { return static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a)); });
  }
};
template <class T>
struct Absolute {
  static void run(Warp& w, const Instruction& in) {
    unary<T, T>(w, in, [](T a) { return a < 0 ? static_cast<T>(Unsigned<T>(0) - Unsigned<T>(a)) : a; });
  }
};
template <class T>
struct AbsoluteDifference {
  static void run(Warp& w, const Instruction& in) {
    ternary<T, T, T>(w, in, [](T a, T b, T c) { return static_cast<T>((a < b ? b - a : a - b) + c); });
  }
};

// ---- floats

/// min and max prefer a number to a NaN.
float min_number(float a, float b) {
  return a != a ? b : b != b ? a : a < b ? a : b < a ? b : std::signbit(a) ? a : b;
}
float max_number(float a, float b) {
  return a != a ? b : b != b ? a : a > b ? a : b > a ? b : std::signbit(a) ? b : a;
}
float min_nan(float a, float b) {
  return a != a || b != b ? std::numeric_limits<float>::quiet_NaN() : min_number(a, b);
}
float max_nan(float a, float b) {
  return a != a || b != b ? std::numeric_limits<float>::quiet_NaN() : max_number(a, b);
}

/// The plain maximum of the inner loops of attention, in a form that vectorises.
void max_f32(Warp& w, const Instruction& in) {
  auto* d = w.lanes<float>(in.d);
  const auto* a = w.lanes<float>(in.a);
  const auto* b = w.lanes<float>(in.b);
  w.for_active([&](int i) {
    const float larger = a[i] > b[i] ? a[i] : b[i];
    d[i] = b[i] != b[i] ? a[i] : larger;  // a NaN in a makes the comparison false and leaves b
  });
}

template <class F>
void fma_with(Warp& w, const Instruction& in, F post) {
  auto* d = w.lanes<float>(in.d);
  const auto* a = w.lanes<float>(in.a);
  const auto* b = w.lanes<float>(in.b);
  const auto* c = w.lanes<float>(in.c);
  w.for_active([&](int i) { d[i] = post(__builtin_fmaf(a[i], b[i], c[i])); });
}

float saturate(float value) {
  return value > 0 ? std::fmin(value, 1.0F) : 0.0F;
}

template <class F>
void approximate(Warp& w, const Instruction& in, F f) {
  unary<float, float>(w, in, f);
  if (w.options().adversary) {
    auto* d = w.lanes<float>(in.d);
    w.for_active([&](int i) { d[i] = perturbed(d[i]); });
  }
}

void require_round_to_nearest(Build& build) {
  build.take("rn");
}

void float_binary(Build& build, Handler plain, Handler flushed, Handler f64) {
  require_round_to_nearest(build);
  const bool ftz = build.take("ftz");
  const Type type = build.need_type();
  if (type != Type::f32 && type != Type::f64) build.unknown("no such type");
  build.in.run = type == Type::f64 ? f64 : ftz ? flushed : plain;
  build.in.unit = Unit::fp32;
  take_operands(build, type);
}

bool is_float(const Build&, Type type) {
  return type == Type::f32 || type == Type::f64;
}

/// The type of an instruction whose handler depends on it, left in place for the float forms.
Type peek_type(Build build) {
  return build.need_type();
}

void translate_integer(Build& build, Handler handler, Type type) {
  build.in.run = handler;
  build.in.unit = Unit::integer;
  build.in.issue_slots = slots_of(type);
  take_operands(build, type);
}

template <class Op>
void run_float(Warp& w, const Instruction& in) {
  binary<float, float>(w, in, [](float a, float b) { return Op::apply(a, b); });
}
template <class Op>
void run_float_flushed(Warp& w, const Instruction& in) {
  binary<float, float>(w, in, [](float a, float b) { return flush(Op::apply(flush(a), flush(b))); });
}
template <class Op>
void run_double(Warp& w, const Instruction& in) {
  binary<double, double>(w, in, [](double a, double b) { return Op::apply(a, b); });
}
struct Plus {
  template <class T>
  static T apply(T a, T b) {
    return a + b;
  }
};
struct Minus {
  template <class T>
  static T apply(T a, T b) {
    return a - b;
  }
};
struct Times {
  template <class T>
  static T apply(T a, T b) {
    return a * b;
  }
};
struct Over {
  template <class T>
  static T apply(T a, T b) {
    return a / b;
  }
};

void packed_or_unknown(Build& build);

void translate_add(Build& build) {
  const Type type = peek_type(build);
  if (is_float(build, type))
    return float_binary(build, run_float<Plus>, run_float_flushed<Plus>, run_double<Plus>);
  if (size_of(type) <= 4 && unit_of(type) == Unit::fp32) return packed_or_unknown(build);
  translate_integer(build, integer_handler<Add>(build.need_type()), type);
}

void translate_sub(Build& build) {
  const Type type = peek_type(build);
  if (is_float(build, type))
    return float_binary(build, run_float<Minus>, run_float_flushed<Minus>, run_double<Minus>);
  if (unit_of(type) == Unit::fp32) return packed_or_unknown(build);
  translate_integer(build, integer_handler<Sub>(build.need_type()), type);
}

void translate_mul(Build& build) {
  const Type type = peek_type(build);
  if (is_float(build, type))
    return float_binary(build, run_float<Times>, run_float_flushed<Times>, run_double<Times>);
  if (unit_of(type) == Unit::fp32) return packed_or_unknown(build);
  const bool low = build.take("lo"), high = build.take("hi"), wide = build.take("wide");
  build.need_type();
  if (!low && !high && !wide) build.unknown("which half?");
  if (wide && size_of(type) == 8) build.unknown("no such type");
  translate_integer(build,
                    low    ? integer_handler<MulLow>(type)
                    : high ? integer_handler<MulHigh>(type)
                           : integer_handler<MulWide>(type),
                    type);
  if (wide) build.in.issue_slots = 1;
}

void translate_mad(Build& build) {
  const Type type = peek_type(build);
  if (type == Type::f32) build.unknown("use fma");
  const bool low = build.take("lo"), high = build.take("hi"), wide = build.take("wide");
  build.need_type();
  if (!low && !high && !wide) build.unknown("which half?");
  build.in.run = low    ? integer_handler<MadLow>(type)
                 : high ? integer_handler<MadHigh>(type)
                        : integer_handler<MadWide>(type);
  build.in.unit = Unit::integer;
  build.in.issue_slots = wide ? 1 : slots_of(type);
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  build.in.b = build.source(2, type);
  build.in.c = build.source(3, wide ? Type::b64 : type);
  if (wide && size_of(type) != 4) build.unknown("no such type");
}

void translate_fma(Build& build) {
  const Type type = peek_type(build);
  if (!is_float(build, type)) return packed_or_unknown(build);
  require_round_to_nearest(build);
  const bool ftz = build.take("ftz"), sat = build.take("sat");
  build.need_type();
  build.in.unit = Unit::fp32;
  take_operands(build, type);
  if (type == Type::f64) {
    build.in.run = [](Warp& w, const Instruction& in) {
      ternary<double, double, double>(w, in, [](double a, double b, double c) { return std::fma(a, b, c); });
    };
  } else if (sat) {
    build.in.run = [](Warp& w, const Instruction& in) { fma_with(w, in, saturate); };
  } else if (ftz) {
    build.in.run = [](Warp& w, const Instruction& in) { fma_with(w, in, flush); };
  } else {
    build.in.run = [](Warp& w, const Instruction& in) { fma_with(w, in, [](float x) { return x; }); };
  }
}

void translate_div(Build& build) {
  const Type type = peek_type(build);
  if (is_float(build, type)) {
    const bool approximate_division = build.take_any({"approx", "full"});
    float_binary(build, run_float<Over>, run_float_flushed<Over>, run_double<Over>);
    build.in.issue_slots = approximate_division ? 4 : 10;
    return;
  }
  translate_integer(build, integer_handler<Div>(build.need_type()), type);
  build.in.issue_slots = size_of(type) == 8 ? 80 : 16;
}

void translate_rem(Build& build) {
  const Type type = build.need_type();
  translate_integer(build, integer_handler<Rem>(type), type);
  build.in.issue_slots = size_of(type) == 8 ? 80 : 16;
}

void translate_min_max(Build& build) {
  const bool is_max = build.base() == "max";
  const Type type = peek_type(build);
  if (type == Type::f32) {
    build.take("ftz");
    const bool nan = build.take("NaN");
    build.need_type();
    build.in.unit = Unit::integer;  // the unit of comparisons
    take_operands(build, type);
    if (build.operand_count() != 3) build.unknown("three operands");
    if (nan) {
      build.in.run = is_max ? [](Warp& w, const Instruction& in) { binary<float, float>(w, in, max_nan); }
                            : [](Warp& w, const Instruction& in) { binary<float, float>(w, in, min_nan); };
    } else {
      build.in.run = is_max ? Handler(max_f32)
                            : [](Warp& w, const Instruction& in) { binary<float, float>(w, in, min_number); };
    }
    return;
  }
  if (unit_of(type) == Unit::fp32 && type != Type::f64) return packed_or_unknown(build);
  if (type == Type::f64) {
    build.need_type();
    build.in.unit = Unit::fp32;
    take_operands(build, type);
    build.in.run =
        is_max
            ? [](Warp& w,
                 const Instruction&
                     in) { binary<double, double>(w, in, [](double a, double b) { return std::fmax(a, b); }); }
            : [](Warp& w, const Instruction& in) {
                binary<double, double>(w, in, [](double a, double b) { return std::fmin(a, b); });
              };
    return;
  }
  build.need_type();
  translate_integer(build, is_max ? integer_handler<Max>(type) : integer_handler<Min>(type), type);
}

void translate_sign(Build& build) {
  const bool is_neg = build.base() == "neg";
  build.take("ftz");
  const Type type = peek_type(build);
  if (is_float(build, type)) {
    build.need_type();
    build.in.unit = Unit::fp32;
    build.in.issue_slots = 0;  // a modifier of the operand where it is used
    take_operands(build, type);
    if (type == Type::f64) {
      build.in.run =
          is_neg ? [](Warp& w,
                      const Instruction& in) { unary<double, double>(w, in, [](double a) { return -a; }); }
                 : [](Warp& w, const Instruction& in) {
                     unary<double, double>(w, in, [](double a) { return std::fabs(a); });
                   };
    } else {
      build.in.run =
          is_neg
              ? [](Warp& w, const Instruction& in) { unary<float, float>(w, in, [](float a) { return -a; }); }
              : [](Warp& w, const Instruction& in) {
                  unary<float, float>(w, in, [](float a) { return std::fabs(a); });
                };
    }
    return;
  }
  if (unit_of(type) == Unit::fp32) return packed_or_unknown(build);
  build.need_type();
  translate_integer(build, is_neg ? integer_handler<Negate>(type) : integer_handler<Absolute>(type), type);
}

void translate_sad(Build& build) {
  const Type type = build.need_type();
  translate_integer(build, integer_handler<AbsoluteDifference>(type), type);
}

// ---- special functions

template <bool kFlush>
void run_ex2(Warp& w, const Instruction& in) {
  auto* d = w.lanes<float>(in.d);
  const auto* a = w.lanes<float>(in.a);
  w.for_active([&](int i) { d[i] = exp2_approximate(a[i]); });
  if (kFlush) w.for_active([&](int i) { d[i] = flush(d[i]); });
  if (w.options().adversary) w.for_active([&](int i) { d[i] = perturbed(d[i]); });
}

struct SpecialFunction {
  std::string_view name;
  float (*apply)(float);
};

float lg2(float x) {
  return std::log2(x);
}
float sine(float x) {
  return std::sin(x);
}
float cosine(float x) {
  return std::cos(x);
}
float hyperbolic_tangent(float x) {
  return std::tanh(x);
}
float reciprocal(float x) {
  return 1.0F / x;
}
float square_root(float x) {
  return std::sqrt(x);
}
float reciprocal_square_root(float x) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}

template <float (*kFunction)(float)>
void run_special(Warp& w, const Instruction& in) {
  approximate(w, in, [](float x) { return kFunction(x); });
}

void translate_special(Build& build) {
  const std::string base(build.base());
  const bool approx = build.take("approx");
  const bool ftz = build.take("ftz");
  const bool rounded = build.take("rn");
  const Type type = build.need_type();
  build.in.unit = Unit::special_function;
  take_operands(build, type);
  if (type == Type::f64 && base == "sqrt") {
    build.in.run = [](Warp& w, const Instruction& in) {
      unary<double, double>(w, in, [](double a) { return std::sqrt(a); });
    };
    build.in.issue_slots = 16;
    return;
  }
  if (type == Type::f64 && base == "rcp") {
    build.in.run = [](Warp& w, const Instruction& in) {
      unary<double, double>(w, in, [](double a) { return 1 / a; });
    };
    build.in.issue_slots = 16;
    return;
  }
  if (type != Type::f32) build.unknown("no such type");
  if (base == "ex2") {
    // Without .ftz the assembler scales denormal results: a comparison, two products, the function.
    build.in.run = ftz ? run_ex2<true> : run_ex2<false>;
    build.in.issue_slots = ftz ? 1 : 4;
    return;
  }
  build.in.run = base == "lg2"     ? run_special<lg2>
                 : base == "sin"   ? run_special<sine>
                 : base == "cos"   ? run_special<cosine>
                 : base == "tanh"  ? run_special<hyperbolic_tangent>
                 : base == "rcp"   ? run_special<reciprocal>
                 : base == "sqrt"  ? run_special<square_root>
                 : base == "rsqrt" ? run_special<reciprocal_square_root>
                                   : nullptr;
  if (rounded && base == "sqrt") {
    build.in.run = [](Warp& w, const Instruction& in) { unary<float, float>(w, in, square_root); };
  } else if (rounded && base == "rcp") {
    build.in.run = [](Warp& w, const Instruction& in) { unary<float, float>(w, in, reciprocal); };
  } else if (!approx) {
    build.unknown("neither .approx nor .rn");
  }
  build.in.issue_slots = approx ? (ftz || base == "tanh" ? 1 : 2) : 8;
}

constexpr Opcode kOpcodes[] = {
    {"add", translate_add},      {"sub", translate_sub},      {"mul", translate_mul},
    {"mad", translate_mad},      {"fma", translate_fma},      {"div", translate_div},
    {"rem", translate_rem},      {"min", translate_min_max},  {"max", translate_min_max},
    {"neg", translate_sign},     {"abs", translate_sign},     {"sad", translate_sad},
    {"ex2", translate_special},  {"lg2", translate_special},  {"sin", translate_special},
    {"cos", translate_special},  {"tanh", translate_special}, {"rcp", translate_special},
    {"sqrt", translate_special}, {"rsqrt", translate_special}};

void packed_or_unknown(Build& build) {
  for (const Opcode& opcode : packed_opcodes()) {
    if (opcode.name == build.base()) return opcode.translate(build);
  }
  build.unknown("no such type");
}

}  // namespace

std::span<const Opcode> arithmetic_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
