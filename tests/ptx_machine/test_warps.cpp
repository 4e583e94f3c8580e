// Divergence, collectives, device functions, memory spaces.
#include <doctest/doctest.h>

#include <bit>
#include <numeric>

#include "tests/ptx_machine/run_text.h"

using namespace ptx;
using namespace ptx::testing;

namespace {

std::vector<uint32_t> counting() {
  std::vector<uint32_t> values(32);
  std::iota(values.begin(), values.end(), 100);
  return values;
}

/// The same body gives what `expected(lane)` says, without a report.
template <class F>
void check(const std::string& body, F expected, const std::string& declarations = "") {
  CAPTURE(body);
  std::string reports;
  const std::vector<uint32_t> got = run_warp(body, counting(), &reports, declarations);
  CHECK(reports == "");
  for (uint32_t lane = 0; lane < 32; ++lane) {
    CAPTURE(lane);
    CHECK(got[lane] == expected(lane));
  }
}

}  // namespace

TEST_CASE("lanes that branch apart come together again") {
  check(R"(
    and.b32 %r3, %r2, 1;
    setp.eq.u32 %p1, %r3, 0;
    mov.u32 %r0, 1;
    @%p1 bra EVEN;
    add.u32 %r0, %r0, 10;
    bra JOIN;
  EVEN:
    add.u32 %r0, %r0, 20;
  JOIN:
    activemask.b32 %r4;
    popc.b32 %r4, %r4;
    add.u32 %r0, %r0, %r4;)",
        [](uint32_t lane) { return 1 + (lane % 2 == 0 ? 20 : 10) + 32; });
}

TEST_CASE("a loop that each lane leaves at its own time") {
  check(R"(
    mov.u32 %r0, 0;
    mov.u32 %r3, 0;
  LOOP:
    add.u32 %r0, %r0, %r3;
    add.u32 %r3, %r3, 1;
    setp.le.u32 %p1, %r3, %r2;
    @%p1 bra LOOP;
    shfl.sync.idx.b32 %r0, %r0, %r2, 31, -1;)",
        [](uint32_t lane) { return lane * (lane + 1) / 2; });
}

TEST_CASE("shuffles") {
  check("shfl.sync.bfly.b32 %r0, %r1, 5, 31, -1;", [](uint32_t lane) { return 100 + (lane ^ 5); });
  check("shfl.sync.down.b32 %r0, %r1, 3, 31, -1;",
        [](uint32_t lane) { return 100 + (lane + 3 <= 31 ? lane + 3 : lane); });
  check("shfl.sync.up.b32 %r0, %r1, 3, 0, -1;",
        [](uint32_t lane) { return 100 + (lane >= 3 ? lane - 3 : lane); });
  check("shfl.sync.idx.b32 %r0, %r1, 7, 31, -1;", [](uint32_t) { return 107U; });
  // Segments of 8 lanes: c = 0x1807.
  check("shfl.sync.bfly.b32 %r0, %r1, 4, 0x1807, -1;", [](uint32_t lane) { return 100 + (lane ^ 4); });
  check("shfl.sync.idx.b32 %r0, %r1, 2, 0x181F, -1;", [](uint32_t lane) { return 100 + (lane / 8 * 8 + 2); });
  check("shfl.sync.down.b32 %r3|%p1, %r1, 30, 31, -1; selp.u32 %r0, 1, 0, %p1;",
        [](uint32_t lane) { return lane < 2 ? 1U : 0U; });
}

TEST_CASE("votes, matches and reductions") {
  check("setp.lt.u32 %p1, %r2, 5; vote.sync.ballot.b32 %r0, %p1, -1;", [](uint32_t) { return 31U; });
  check("setp.lt.u32 %p1, %r2, 5; vote.sync.any.pred %p2, %p1, -1; selp.u32 %r0, 1, 0, %p2;",
        [](uint32_t) { return 1U; });
  check("setp.lt.u32 %p1, %r2, 5; vote.sync.all.pred %p2, !%p1, -1; selp.u32 %r0, 1, 0, %p2;",
        [](uint32_t) { return 0U; });
  check("and.b32 %r3, %r2, 3; match.any.sync.b32 %r0, %r3, -1;",
        [](uint32_t lane) { return 0x11111111U << (lane % 4); });
  check("redux.sync.add.s32 %r0, %r1, -1;", [](uint32_t) { return 32 * 100 + 31 * 16U; });
  check("redux.sync.max.u32 %r0, %r1, -1;", [](uint32_t) { return 131U; });
  check("redux.sync.min.s32 %r0, %r1, -1;", [](uint32_t) { return 100U; });
  check("elect.sync %r3|%p1, -1; selp.u32 %r0, 1, 0, %p1;",
        [](uint32_t lane) { return lane == 0 ? 1U : 0U; });
}

TEST_CASE("part of a warp shuffles while the rest waits elsewhere") {
  check(R"(
    setp.lt.u32 %p1, %r2, 16;
    mov.u32 %r0, 7;
    @!%p1 bra DONE;
    shfl.sync.bfly.b32 %r0, %r1, 1, 31, 0xFFFF;
  DONE:
    bar.warp.sync -1;)",
        [](uint32_t lane) { return lane < 16 ? 100 + (lane ^ 1) : 7; });
}

TEST_CASE("scopes of their own: registers and labels of inline assembly") {
  check(R"(
    mov.u32 %r0, %r2;
    { .reg .pred p; .reg .b32 t; setp.gt.u32 p, %r2, 3; mov.u32 t, 5; @p bra SKIP; add.u32 %r0, %r0, t; SKIP: }
    { .reg .pred p; .reg .b32 t; setp.gt.u32 p, %r2, 7; mov.u32 t, 50; @p bra SKIP; add.u32 %r0, %r0, t; SKIP: })",
        [](uint32_t lane) { return lane + (lane <= 3 ? 5 : 0) + (lane <= 7 ? 50 : 0); });
}

TEST_CASE("device functions are called, with loops and early returns") {
  const std::string function = R"(
    .func (.param .b32 result) power(.param .b32 base, .param .b32 exponent)
    {
      .reg .b32 %r<5>; .reg .pred %p<2>;
      ld.param.u32 %r1, [base]; ld.param.u32 %r2, [exponent];
      mov.u32 %r3, 1;
      setp.eq.u32 %p1, %r2, 0;
      @!%p1 bra $LOOP;
      st.param.b32 [result+0], %r3;
      ret;
    $LOOP:
      mul.lo.u32 %r3, %r3, %r1;
      add.s32 %r2, %r2, -1;
      setp.ne.u32 %p1, %r2, 0;
      @%p1 bra $LOOP;
      st.param.b32 [result+0], %r3;
      ret;
    })";
  check(R"(
    and.b32 %r3, %r2, 3;
    { .param .b32 param0; .param .b32 param1; .param .b32 retval0;
      st.param.b32 [param0+0], 5; st.param.b32 [param1+0], %r3;
      call.uni (retval0), power, (param0, param1);
      ld.param.b32 %r0, [retval0+0]; })",
        [](uint32_t lane) {
          return std::vector<uint32_t>{1, 5, 25, 125}[lane % 4];
        },
        function);
}

TEST_CASE("memory spaces: constants, local and shared memory, generic addresses") {
  check(R"(
    and.b32 %r3, %r2, 3;
    mul.wide.u32 %q4, %r3, 4;
    mov.u64 %q5, table;
    add.s64 %q5, %q5, %q4;
    ld.const.u32 %r0, [%q5];)",
        [](uint32_t lane) {
          return std::vector<uint32_t>{10, 20, 30, 40}[lane % 4];
        },
        ".const .align 4 .b8 table[16] = {10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0, 40, 0, 0, 0};");
  check(R"(
    .local .align 8 .b8 depot[16];
    mov.u64 %q4, depot;
    cvta.local.u64 %q5, %q4;
    st.local.v2.u32 [%q4], {%r1, %r2};
    ld.u32 %r3, [%q5+4];
    ld.local.u32 %r4, [%q4];
    sub.u32 %r0, %r4, %r3;)",
        [](uint32_t) { return 100U; });
  check(R"(
    .shared .align 4 .b8 buffer[128];
    mov.u32 %r3, buffer;
    shl.b32 %r4, %r2, 2;
    add.u32 %r4, %r3, %r4;
    st.shared.u32 [%r4], %r1;
    bar.sync 0;
    mov.u64 %q4, buffer;
    cvta.shared.u64 %q5, %q4;
    ld.u32 %r0, [%q5+124];)",
        [](uint32_t) { return 131U; });
}

TEST_CASE("loads extend, stores truncate") {
  check("st.global.u8 [%q3], %r1; ld.global.u8 %r0, [%q3];", [](uint32_t lane) { return 100 + lane; });
  check("mov.u32 %r4, -3; st.global.u16 [%q3], %r4; ld.global.s16 %r0, [%q3];",
        [](uint32_t) { return 0xFFFFFFFDU; });
  check("st.global.u32 [%q3], 0; mov.u32 %r4, 0x80; st.global.u8 [%q3], %r4; ld.global.s8 %r0, [%q3];",
        [](uint32_t) { return 0xFFFFFF80U; });
}

TEST_CASE("atomics, one lane after the other") {
  check(R"(
    .shared .align 4 .b8 counter[4];
    mov.u32 %r3, counter;
    setp.eq.u32 %p1, %r2, 0;
    @%p1 st.shared.u32 [%r3], 0;
    bar.sync 0;
    atom.shared.add.u32 %r4, [%r3], 2;
    bar.sync 0;
    ld.shared.u32 %r0, [%r3];)",
        [](uint32_t) { return 64U; });
}

TEST_CASE("warps of a block run in an order of the seed, and meet at barriers") {
  // Every thread adds its number to what the thread 32 before it has left, one warp after the other.
  const Program program = kernel_of("out", R"(
    .shared .align 4 .b8 words[4];
    mov.u32 %r1, %tid.x;
    shr.u32 %r2, %r1, 5;
    mov.u32 %r3, words;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 st.shared.u32 [%r3], 1;
    mov.u32 %r4, 0;
  LOOP:
    bar.sync 0;
    setp.ne.u32 %p2, %r4, %r2;
    @%p2 bra SKIP;
    and.b32 %r5, %r1, 31;
    setp.ne.u32 %p3, %r5, 0;
    @%p3 bra SKIP;
    ld.shared.u32 %r6, [%r3];
    mad.lo.u32 %r6, %r6, 10, %r2;
    st.shared.u32 [%r3], %r6;
  SKIP:
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, 4;
    @%p2 bra LOOP;
    bar.sync 0;
    ld.shared.u32 %r6, [%r3];
    mul.wide.u32 %q1, %r1, 4;
    add.s64 %q1, %q1, %out;
    st.global.u32 [%q1], %r6;)");
  for (const uint64_t seed : {1, 2, 3, 4}) {
    std::vector<uint32_t> output(128);
    GlobalMemory memory;
    auto* out = memory.add("out", std::span<uint32_t>(output), Access::write_first);
    const Outcome outcome = run(program, {{1, 1, 1}, {128, 1, 1}, 0, arguments(out)}, memory, {.seed = seed});
    CHECK(outcome.reports_text() == "");
    for (const uint32_t value : output) CHECK(value == 10123);
  }
}
