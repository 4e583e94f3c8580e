// A table of cases an instruction: operands, and the result that the PTX manual gives.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "tests/ptx_machine/ptx_error.h"
#include "tests/ptx_machine/run_text.h"

using namespace ptx;
using namespace ptx::testing;

namespace {

uint64_t f(float value) {
  return std::bit_cast<uint32_t>(value);
}
uint64_t d(double value) {
  return std::bit_cast<uint64_t>(value);
}
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  const char* instruction;  // a in %h1 %r1 %q1 %f1 %d1 %p1 (a != 0), b in ...2, c in ...3; the result is
                            // register 0 of a kind
  char result;              // h r q f d p
  uint64_t a, b, c;
  uint64_t expected;
};

/// The result of a case in lane 0, of 32 equal lanes.
uint64_t result_of(const Case& c) {
  const std::string kind(1, c.result);
  std::string store = "st.global.u64 [%out], %q0;";
  if (c.result == 'r') store = "cvt.u64.u32 %q0, %r0;" + store;
  if (c.result == 'h') store = "cvt.u64.u16 %q0, %h0;" + store;
  if (c.result == 'f') store = "mov.b32 %r0, %f0; cvt.u64.u32 %q0, %r0;" + store;
  if (c.result == 'd') store = "mov.b64 %q0, %d0;" + store;
  if (c.result == 'p') store = "selp.u32 %r0, 1, 0, %p0; cvt.u64.u32 %q0, %r0;" + store;
  std::string loads;
  for (int i = 1; i <= 3; ++i) {
    const std::string n = std::to_string(i);
    loads += "mov.u64 %q" + n + ", %abc" + n + "; cvt.u32.u64 %r" + n + ", %q" + n + "; cvt.u16.u64 %h" + n +
             ", %q" + n + "; mov.b32 %f" + n + ", %r" + n + "; mov.b64 %d" + n + ", %q" + n +
             "; setp.ne.u64 %p" + n + ", %q" + n + ", 0;\n";
  }
  const Program program = kernel_of("out abc1 abc2 abc3", loads + c.instruction + store);
  uint64_t value = 0;
  GlobalMemory memory;
  auto* out = memory.add("out", std::span<uint64_t>(&value, 1), Access::write_first);
  const Outcome outcome = run(program, {{1, 1, 1}, {32, 1, 1}, 0, arguments(out, c.a, c.b, c.c)}, memory);
  CHECK(outcome.reports_text() == "");
  return value;
}

const Case kIntegerCases[] = {
    {"add.s32 %r0, %r1, %r2;", 'r', 0xFFFFFFFF, 2, 0, 1},
    {"add.u16 %h0, %h1, %h2;", 'h', 0xFFFF, 3, 0, 2},
    {"add.s64 %q0, %q1, %q2;", 'q', 0xFFFFFFFF, 1, 0, 0x100000000},
    {"add.s64 %q0, %q1, -16;", 'q', 10, 0, 0, static_cast<uint64_t>(-6)},
    {"sub.s32 %r0, %r1, %r2;", 'r', 3, 5, 0, 0xFFFFFFFE},
    {"mul.lo.s32 %r0, %r1, %r2;", 'r', 0x10001, 0x10001, 0, 0x20001},
    {"mul.hi.u32 %r0, %r1, %r2;", 'r', 0x80000000, 6, 0, 3},
    {"mul.hi.s32 %r0, %r1, %r2;", 'r', 0x80000000, 6, 0, 0xFFFFFFFD},
    {"mul.hi.u64 %q0, %q1, %q2;", 'q', uint64_t{1} << 63, 6, 0, 3},
    {"mul.wide.s32 %q0, %r1, %r2;", 'q', 0xFFFFFFFF, 7, 0, static_cast<uint64_t>(-7)},
    {"mul.wide.u32 %q0, %r1, %r2;", 'q', 0xFFFFFFFF, 7, 0, uint64_t{7} * 0xFFFFFFFF},
    {"mul.wide.u16 %r0, %h1, %h2;", 'r', 0xFFFF, 2, 0, 0x1FFFE},
    {"mad.lo.s32 %r0, %r1, %r2, %r3;", 'r', 5, 7, 0xFFFFFFFF, 34},
    {"mad.wide.u32 %q0, %r1, %r2, %q3;", 'q', 0xFFFFFFFF, 2, 5, 0x200000003},
    {"mad.hi.u32 %r0, %r1, %r2, %r3;", 'r', 0x80000000, 4, 1, 3},
    {"div.s32 %r0, %r1, %r2;", 'r', static_cast<uint32_t>(-7), 2, 0, static_cast<uint32_t>(-3)},
    {"div.u32 %r0, %r1, %r2;", 'r', 7, 2, 0, 3},
    {"div.u64 %q0, %q1, %q2;", 'q', uint64_t{1} << 40, 1000, 0, (uint64_t{1} << 40) / 1000},
    {"rem.s32 %r0, %r1, %r2;", 'r', static_cast<uint32_t>(-7), 2, 0, static_cast<uint32_t>(-1)},
    {"rem.u64 %q0, %q1, %q2;", 'q', 1000000000007, 1000, 0, 7},
    {"min.s32 %r0, %r1, %r2;", 'r', 0xFFFFFFFF, 1, 0, 0xFFFFFFFF},
    {"min.u32 %r0, %r1, %r2;", 'r', 0xFFFFFFFF, 1, 0, 1},
    {"max.s64 %q0, %q1, %q2;", 'q', static_cast<uint64_t>(-5), 3, 0, 3},
    {"neg.s32 %r0, %r1;", 'r', 5, 0, 0, 0xFFFFFFFB},
    {"abs.s32 %r0, %r1;", 'r', 0xFFFFFFFB, 0, 0, 5},
    {"sad.u32 %r0, %r1, %r2, %r3;", 'r', 3, 10, 100, 107},
    {"and.b32 %r0, %r1, %r2;", 'r', 0xF0F0, 0xFF00, 0, 0xF000},
    {"or.b64 %q0, %q1, %q2;", 'q', 0xF0, uint64_t{1} << 40, 0, 0xF0 | uint64_t{1} << 40},
    {"xor.b16 %h0, %h1, %h2;", 'h', 0xFFFF, 0x0F0F, 0, 0xF0F0},
    {"not.b32 %r0, %r1;", 'r', 0xFFFF0000, 0, 0, 0xFFFF},
    {"and.pred %p0, %p1, %p2;", 'p', 1, 0, 0, 0},
    {"or.pred %p0, %p1, %p2;", 'p', 1, 0, 0, 1},
    {"xor.pred %p0, %p1, %p2;", 'p', 1, 1, 0, 0},
    {"not.pred %p0, %p1;", 'p', 0, 0, 0, 1},
    {"shl.b32 %r0, %r1, %r2;", 'r', 1, 31, 0, 0x80000000},
    {"shl.b32 %r0, %r1, %r2;", 'r', 1, 32, 0, 0},
    {"shl.b64 %q0, %q1, %r2;", 'q', 1, 40, 0, uint64_t{1} << 40},
    {"shr.u32 %r0, %r1, %r2;", 'r', 0x80000000, 31, 0, 1},
    {"shr.s32 %r0, %r1, %r2;", 'r', 0x80000000, 40, 0, 0xFFFFFFFF},
    {"shr.s64 %q0, %q1, 4;", 'q', static_cast<uint64_t>(-32), 0, 0, static_cast<uint64_t>(-2)},
    {"shf.l.wrap.b32 %r0, %r1, %r2, %r3;", 'r', 0x80000001, 0x12345678, 4, 0x23456788},
    {"shf.r.clamp.b32 %r0, %r1, %r2, %r3;", 'r', 0x80000001, 0x12345678, 32, 0x12345678},
    {"bfe.u32 %r0, %r1, %r2, %r3;", 'r', 0xABCD1234, 8, 8, 0x12},
    {"bfe.s32 %r0, %r1, %r2, %r3;", 'r', 0x0000F200, 8, 8, 0xFFFFFFF2},
    {"bfi.b32 %r0, %r1, %r2, 8, 4;", 'r', 0xF, 0, 0, 0xF00},
    {"popc.b32 %r0, %r1;", 'r', 0xF0F1, 0, 0, 9},
    {"popc.b64 %r0, %q1;", 'r', 0x8000000000000001, 0, 0, 2},
    {"clz.b32 %r0, %r1;", 'r', 1, 0, 0, 31},
    {"brev.b32 %r0, %r1;", 'r', 0x80000001, 0, 0, 0x80000001},
    {"bfind.u32 %r0, %r1;", 'r', 0x00800000, 0, 0, 23},
    {"bfind.u32 %r0, %r1;", 'r', 0, 0, 0, 0xFFFFFFFF},
    {"bfind.shiftamt.u32 %r0, %r1;", 'r', 0x00800000, 0, 0, 8},
    {"prmt.b32 %r0, %r1, %r2, 0x5410;", 'r', 0x11223344, 0x55667788, 0, 0x77883344},
    {"prmt.b32 %r0, %r1, %r2, 0x8;", 'r', 0x00000080, 0, 0, 0x808080FF},
    {"lop3.b32 %r0, %r1, %r2, %r3, 0x96;", 'r', 0xF0, 0xCC, 0xAA, 0x96},
    {"selp.b32 %r0, %r2, %r3, %p1;", 'r', 1, 11, 22, 11},
    {"selp.b64 %q0, %q2, %q3, %p1;", 'q', 0, 11, 22, 22},
    {"setp.lt.s32 %p0, %r1, %r2;", 'p', 0xFFFFFFFF, 1, 0, 1},
    {"setp.lt.u32 %p0, %r1, %r2;", 'p', 0xFFFFFFFF, 1, 0, 0},
    {"setp.ge.and.s32 %p0, %r1, %r2, %p3;", 'p', 3, 2, 0, 0},
    {"setp.ge.or.s32 %p0, %r1, %r2, !%p3;", 'p', 1, 2, 0, 1},
    {"setp.eq.s32 %p4|%p0, %r1, %r2;", 'p', 2, 2, 0, 0},
    {"setp.hi.u64 %p0, %q1, %q2;", 'p', uint64_t{1} << 40, 5, 0, 1},
    {"set.gt.u32.s32 %r0, %r1, %r2;", 'r', 3, 2, 0, 0xFFFFFFFF},
    {"@%p1 mov.u32 %r0, 5; @!%p1 mov.u32 %r0, 6;", 'r', 0, 0, 0, 6},
    {"mov.b32 {%h4, %h5}, %r1; mov.b32 %r0, {%h5, %h4};", 'r', 0x12345678, 0, 0, 0x56781234},
    {"mov.b64 {%r4, %r5}, %q1; mov.b64 %q0, {%r5, %r4};", 'q', 0x1122334455667788, 0, 0, 0x5566778811223344},
    {"mov.b32 %r0, {0, %h1};", 'r', 0x1234, 0, 0, 0x12340000},
    {"cvt.s64.s32 %q0, %r1;", 'q', 0xFFFFFFFE, 0, 0, static_cast<uint64_t>(-2)},
    {"cvt.s64.s32 %q0, %q1;", 'q', 0x1FFFFFFFE, 0, 0, static_cast<uint64_t>(-2)},
    {"cvt.u32.u16 %r0, %h1;", 'r', 0xFFFF, 0, 0, 0xFFFF},
    {"cvt.u32.u8 %r0, %r1;", 'r', 0x1FF, 0, 0, 0xFF},
    {"cvt.s32.s8 %r0, %h1;", 'r', 0x80, 0, 0, 0xFFFFFF80},
    {"cvt.u16.u32 %h0, %r1;", 'h', 0x12345, 0, 0, 0x2345},
};

const Case kFloatCases[] = {
    {"add.f32 %f0, %f1, %f2;", 'f', f(1.5F), f(2.25F), 0, f(3.75F)},
    {"add.rn.f32 %f0, %f1, %f2;", 'f', f(16777216.0F), f(1.0F), 0, f(16777216.0F)},
    {"sub.f32 %f0, %f1, %f2;", 'f', f(1.0F), f(kInf), 0, f(-kInf)},
    {"mul.f32 %f0, %f1, %f2;", 'f', f(3.0F), f(-0.5F), 0, f(-1.5F)},
    {"mul.ftz.f32 %f0, %f1, %f2;", 'f', f(1e-30F), f(1e-15F), 0, f(0.0F)},
    {"mul.f32 %f0, %f1, %f2;", 'f', f(0x1p-100F), f(0x1p-40F), 0, f(0x1p-140F)},
    {"fma.rn.f32 %f0, %f1, %f2, %f3;", 'f', f(1 + 0x1p-12F), f(1 + 0x1p-12F), f(-1.0F),
     f(0x1p-11F + 0x1p-24F)},
    {"fma.rn.sat.f32 %f0, %f1, %f2, %f3;", 'f', f(2), f(3), f(0), f(1)},
    {"div.rn.f32 %f0, %f1, %f2;", 'f', f(1.0F), f(3.0F), 0, f(1.0F / 3.0F)},
    {"max.f32 %f0, %f1, %f2;", 'f', f(kNan), f(-3.0F), 0, f(-3.0F)},
    {"max.f32 %f0, %f1, %f2;", 'f', f(-3.0F), f(kNan), 0, f(-3.0F)},
    {"max.f32 %f0, %f1, %f2;", 'f', f(2.0F), f(7.0F), 0, f(7.0F)},
    {"min.f32 %f0, %f1, %f2;", 'f', f(2.0F), f(kNan), 0, f(2.0F)},
    {"max.NaN.f32 %f0, %f1, %f2; setp.nan.f32 %p0, %f0, %f0;", 'p', f(2.0F), f(kNan), 0, 1},
    {"neg.f32 %f0, %f1;", 'f', f(2.0F), 0, 0, f(-2.0F)},
    {"abs.f32 %f0, %f1;", 'f', f(-2.0F), 0, 0, f(2.0F)},
    {"ex2.approx.ftz.f32 %f0, %f1;", 'f', f(5.0F), 0, 0, f(32.0F)},
    {"ex2.approx.ftz.f32 %f0, %f1;", 'f', f(-kInf), 0, 0, f(0.0F)},
    {"ex2.approx.ftz.f32 %f0, %f1;", 'f', f(-140.0F), 0, 0, f(0.0F)},
    {"ex2.approx.f32 %f0, %f1;", 'f', f(-140.0F), 0, 0, f(0x1p-140F)},
    {"ex2.approx.ftz.f32 %f0, %f1;", 'f', f(200.0F), 0, 0, f(kInf)},
    {"lg2.approx.ftz.f32 %f0, %f1;", 'f', f(0.125F), 0, 0, f(-3.0F)},
    {"rcp.approx.ftz.f32 %f0, %f1;", 'f', f(4.0F), 0, 0, f(0.25F)},
    {"rsqrt.approx.ftz.f32 %f0, %f1;", 'f', f(16.0F), 0, 0, f(0.25F)},
    {"sqrt.rn.f32 %f0, %f1;", 'f', f(2.0F), 0, 0, f(1.41421356F)},
    {"tanh.approx.f32 %f0, %f1;", 'f', f(0.0F), 0, 0, f(0.0F)},
    {"add.f64 %d0, %d1, %d2;", 'd', d(1e-3), d(1.0), 0, d(1.001)},
    {"mul.f64 %d0, %d1, %d2;", 'd', d(1.5), d(3.0), 0, d(4.5)},
    {"fma.rn.f64 %d0, %d1, %d2, %d3;", 'd', d(3.0), d(4.0), d(5.0), d(17.0)},
    {"setp.lt.f32 %p0, %f1, %f2;", 'p', f(1.0F), f(kNan), 0, 0},
    {"setp.ltu.f32 %p0, %f1, %f2;", 'p', f(1.0F), f(kNan), 0, 1},
    {"setp.ne.f32 %p0, %f1, %f2;", 'p', f(1.0F), f(kNan), 0, 0},
    {"setp.neu.f32 %p0, %f1, %f2;", 'p', f(1.0F), f(kNan), 0, 1},
    {"setp.num.f32 %p0, %f1, %f2;", 'p', f(1.0F), f(2.0F), 0, 1},
    {"cvt.rn.f32.s32 %f0, %r1;", 'f', static_cast<uint32_t>(-3), 0, 0, f(-3.0F)},
    {"cvt.rn.f32.u64 %f0, %q1;", 'f', uint64_t{1} << 40, 0, 0, f(0x1p40F)},
    {"cvt.rzi.s32.f32 %r0, %f1;", 'r', f(-2.7F), 0, 0, static_cast<uint32_t>(-2)},
    {"cvt.rni.s32.f32 %r0, %f1;", 'r', f(2.5F), 0, 0, 2},
    {"cvt.rmi.s32.f32 %r0, %f1;", 'r', f(-2.1F), 0, 0, static_cast<uint32_t>(-3)},
    {"cvt.rpi.s32.f32 %r0, %f1;", 'r', f(2.1F), 0, 0, 3},
    {"cvt.rzi.u32.f32 %r0, %f1;", 'r', f(-5.0F), 0, 0, 0},
    {"cvt.rzi.s32.f32 %r0, %f1;", 'r', f(1e20F), 0, 0, 0x7FFFFFFF},
    {"cvt.rzi.s32.f32 %r0, %f1;", 'r', f(kNan), 0, 0, 0},
    {"cvt.rmi.f32.f32 %f0, %f1;", 'f', f(-2.5F), 0, 0, f(-3.0F)},
    {"cvt.f64.f32 %d0, %f1;", 'd', f(1.5F), 0, 0, d(1.5)},
    {"cvt.rn.f32.f64 %f0, %d1;", 'f', d(1.0 / 3.0), 0, 0, f(1.0F / 3.0F)},
    {"cvt.rn.bf16.f32 %h0, %f1;", 'h', f(1.00390625F), 0, 0, 0x3F80},  // a tie: to even
    {"cvt.rn.bf16.f32 %h0, %f1;", 'h', f(1.01171875F), 0, 0, 0x3F82},  // a tie: to even
    {"cvt.rn.bf16x2.f32 %r0, %f1, %f2;", 'r', f(1.0F), f(2.0F), 0, 0x3F804000},
    {"cvt.rn.f16.f32 %h0, %f1;", 'h', f(1.5F), 0, 0, 0x3E00},
    {"cvt.rn.f16x2.f32 %r0, %f1, %f2;", 'r', f(1.0F), f(2.0F), 0, 0x3C004000},
    {"cvt.rn.f16.f32 %h0, %f1;", 'h', f(0.0F), 0, 0, 0},
    {"cvt.rn.f16.f32 %h0, %f1;", 'h', f(-0x1p-24F), 0, 0, 0x8001},  // the smallest denormal
    {"cvt.rn.f16.f32 %h0, %f1;", 'h', f(2047.5F), 0, 0, 0x6800},    // carries into the exponent
    {"cvt.rn.f16.f32 %h0, %f1;", 'h', f(70000.0F), 0, 0, 0x7C00},
    {"cvt.f32.f16 %f0, %h1;", 'f', 0x0001, 0, 0, f(0x1p-24F)},
    {"cvt.f32.f16 %f0, %h1;", 'f', 0xFC00, 0, 0, f(-kInf)},
    {"cvt.f32.f16 %f0, %h1;", 'f', 0x3E00, 0, 0, f(1.5F)},
    {"cvt.f32.bf16 %f0, %h1;", 'f', 0x3FC0, 0, 0, f(1.5F)},
    {"cvt.rna.tf32.f32 %r0, %f1;", 'r', f(1 + 0x1p-11F), 0, 0, f(1 + 0x1p-10F)},
    {"add.rn.bf16x2 %r0, %r1, %r2;", 'r', 0x3F804000, 0x3F803F80, 0, 0x40004040},
    {"fma.rn.bf16x2 %r0, %r1, %r2, %r3;", 'r', 0x40004000, 0x40404040, 0x3F803F80, 0x40E040E0},
    {"mul.rn.f16x2 %r0, %r1, %r2;", 'r', 0x3C004000, 0x40004000, 0, 0x40004400},
    {"max.bf16x2 %r0, %r1, %r2;", 'r', 0x3F80C000, 0x40003F80, 0, 0x40003F80},
    {"mov.f32 %f0, 0f3FC00000;", 'f', 0, 0, 0, f(1.5F)},
    {"mov.f64 %d0, 0d3FF8000000000000;", 'd', 0, 0, 0, d(1.5)},
};

}  // namespace

TEST_CASE("integers, bits, choices: each instruction by the manual") {
  for (const Case& c : kIntegerCases) {
    CAPTURE(c.instruction);
    CHECK(result_of(c) == c.expected);
  }
}

TEST_CASE("floats and conversions: each instruction by the manual") {
  for (const Case& c : kFloatCases) {
    CAPTURE(c.instruction);
    CHECK(result_of(c) == c.expected);
  }
}

TEST_CASE("2^x is within 1.5 ulp, and an adversary moves it by no more than 2") {
  for (float x = -120; x < 120; x += 0.37F) {
    const Case c{"ex2.approx.ftz.f32 %f0, %f1;", 'f', f(x), 0, 0, 0};
    const auto got = static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(result_of(c))));
    const double exact = std::exp2(static_cast<double>(x));
    CHECK(std::fabs(got / exact - 1) < 1.5 * 0x1p-23);
  }
}

TEST_CASE("what is not known is an error that names it") {
  for (const char* body :
       {"frobnicate.u32 %r0, %r1;", "add.sometimes.s32 %r0, %r1, %r1;", "mul.s32 %r0, %r1, %r1;",
        "add.s32 %q0, %q1, %q1;", "cvt.u32.f32 %r0, %f1;", "shfl.bfly.b32 %r0, %r1, 1, 31;"}) {
    CAPTURE(body);
    CHECK_THROWS_AS(kernel_of("", body), ptx::Error);
  }
  CHECK_THROWS_WITH(kernel_of("", "frobnicate.u32 %r0, %r1;"), doctest::Contains("frobnicate.u32"));
}
