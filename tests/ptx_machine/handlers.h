#pragma once
// What the files of handlers share: elementwise loops and the choice of a handler by type.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/ptx_machine/number_formats.h"
#include "tests/ptx_machine/opcode.h"
#include "tests/ptx_machine/warp.h"

namespace ptx {

inline float flush(float value) {
  return std::fabs(value) < 1.17549435e-38F ? std::copysign(0.0F, value) : value;
}

/// d = op(a)
template <class D, class A, class F>
void unary(Warp& w, const Instruction& in, F op) {
  auto* d = w.lanes<D>(in.d);
  const auto* a = w.lanes<A>(in.a);
  w.for_active([&](int i) { d[i] = op(a[i]); });
}

/// d = op(a, b)
template <class D, class A, class F>
void binary(Warp& w, const Instruction& in, F op) {
  auto* d = w.lanes<D>(in.d);
  const auto* a = w.lanes<A>(in.a);
  const auto* b = w.lanes<A>(in.b);
  w.for_active([&](int i) { d[i] = op(a[i], b[i]); });
}

/// d = op(a, b, c)
template <class D, class A, class C, class F>
void ternary(Warp& w, const Instruction& in, F op) {
  auto* d = w.lanes<D>(in.d);
  const auto* a = w.lanes<A>(in.a);
  const auto* b = w.lanes<A>(in.b);
  const auto* c = w.lanes<C>(in.c);
  w.for_active([&](int i) { d[i] = op(a[i], b[i], c[i]); });
}

/// The handler `Make<T>` of the C++ type that carries a PTX type; bits count as unsigned.
template <template <class> class Make>
Handler integer_handler(Type type) {
  switch (type) {
    case Type::b16:
    case Type::u16:
      return Make<uint16_t>::run;
    case Type::s16:
      return Make<int16_t>::run;
    case Type::b32:
    case Type::u32:
      return Make<uint32_t>::run;
    case Type::s32:
      return Make<int32_t>::run;
    case Type::b64:
    case Type::u64:
      return Make<uint64_t>::run;
    case Type::s64:
      return Make<int64_t>::run;
    default:
      return nullptr;
  }
}

/// Registers of an instruction d, a[, b[, c]] of one type.
inline void take_operands(Build& build, Type type) {
  build.in.d = build.result(0);
  build.in.a = build.source(1, type);
  if (build.operand_count() > 2) build.in.b = build.source(2, type);
  if (build.operand_count() > 3) build.in.c = build.source(3, type);
}

inline Unit unit_of(Type type) {
  switch (type) {
    case Type::f32:
    case Type::f64:
    case Type::f16:
    case Type::bf16:
    case Type::f16x2:
    case Type::bf16x2:
      return Unit::fp32;
    default:
      return Unit::integer;
  }
}

/// 64-bit integer arithmetic takes two instructions of the hardware.
inline uint8_t slots_of(Type type) {
  return size_of(type) == 8 && type != Type::f64 ? 2 : 1;
}

}  // namespace ptx
