// wgmma against plain matrices whose elements are laid out by the manual's table of canonical layouts, and
// kernels that use it wrongly.
#include <doctest/doctest.h>

#include <string>

#include "tests/ptx_machine/number_formats.h"
#include "tests/ptx_machine/ptx_error.h"
#include "tests/ptx_machine/run_text.h"

using namespace ptx;
using namespace ptx::testing;

namespace {

constexpr size_t kThreads = 128;

float small_number(size_t i) {
  return static_cast<float>(static_cast<int>(i * 7919 % 31) - 15) / 8;
}

/// An operand in shared memory: `rows` (M or N) x 16.
struct Layout {
  bool mn_major = false;
  size_t swizzle = 0;         // bytes
  size_t pattern_offset = 0;  // of 128 bytes, from where the pattern would begin by itself

  size_t units() const { return swizzle == 0 ? 1 : swizzle / 16; }
  size_t atom() const { return 128 * units(); }
  // Distances between the repeated parts, in bytes, some of them larger than they need be.
  size_t leading(size_t rows) const {
    return mn_major ? (swizzle == 0 ? rows / 8 * 128 + 128 : 2 * atom()) : (swizzle == 0 ? 128 : 16);
  }
  size_t stride() const {
    return mn_major ? (swizzle == 0 ? 128 : atom()) : (swizzle == 0 ? 256 : 2 * atom());
  }
  size_t bytes(size_t rows) const {
    size_t last = 0;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t k = 0; k < 16; ++k) last = std::max(last, place(row, k, rows));
    }
    return (last + 2 + 1023) / 1024 * 1024;
  }

  /// Byte of element (row, k): the canonical layout's strides, T = 8, then Swizzle<B, 4, 3>.
  size_t place(size_t row, size_t k, size_t rows) const {
    const size_t w = units();
    size_t byte = 0;
    if (mn_major && swizzle == 0)  // ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO))
      byte = 2 * (row % 8) + row / 8 * stride() + k % 8 * 16 + k / 8 * leading(rows);
    else if (mn_major)  // ((T,w,m),(8,k)):((1,T,LBO),(wT,SBO))
      byte =
          2 * (row % 8) + row / 8 % w * 16 + row / 8 / w * leading(rows) + k % 8 * 16 * w + k / 8 * stride();
    else  // ((8,m),(T,2)):((wT,SBO),(1,LBO or T))
      byte = row % 8 * 16 * w + row / 8 * stride() + 2 * (k % 8) + k / 8 * leading(rows);
    const size_t mask = (w - 1) << 4;
    return 128 * pattern_offset + (byte ^ (byte >> 3 & mask));
  }

  /// Of a matrix at a multiple of 1024.
  uint64_t descriptor(size_t address, size_t rows) const {
    const uint64_t mode = swizzle == 0 ? 0 : swizzle == 128 ? 1 : swizzle == 64 ? 2 : 3;
    return (address + 128 * pattern_offset) / 16 | uint64_t{leading(rows) / 16} << 16 |
           uint64_t{stride() / 16} << 32 | uint64_t{swizzle == 0 ? 0 : pattern_offset} << 49 | mode << 62;
  }
};

std::string list_of(const std::string& name, size_t first, size_t count) {
  std::string text = "{";
  for (size_t i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + ("%" + name + std::to_string(first + i));
  return text + "}";
}

struct Case {
  size_t columns = 64;
  Layout b = {};
  bool a_in_registers = true;
  Layout a = {};
  bool accumulates = true;
  int scale_a = 1, scale_b = 1;
  bool adversary = false;
};

/// D = scale A B (+ D), A(m, k) and B(k, n) numbers by their place.
void check_product(const Case& c) {
  const size_t n = c.columns, a_bytes = c.a_in_registers ? 0 : c.a.bytes(64), b_bytes = c.b.bytes(n);
  const auto a_at = [](size_t row, size_t k) { return small_number(row * 16 + k); };
  const auto b_at = [](size_t column, size_t k) { return small_number(3 * (column * 16 + k) + 1); };
  const auto c_at = [&](size_t row, size_t column) { return small_number(5 * (row * n + column) + 2); };
  // NaN where no element lies; whole rounds of the block's copying.
  std::vector<uint16_t> image((a_bytes + b_bytes + 2047) / 2048 * 1024, 0x7FC0);
  for (size_t k = 0; k < 16; ++k) {
    if (!c.a_in_registers) {
      for (size_t row = 0; row < 64; ++row) image[c.a.place(row, k, 64) / 2] = float_to_bf16(a_at(row, k));
    }
    for (size_t column = 0; column < n; ++column)
      image[(a_bytes + c.b.place(column, k, n)) / 2] = float_to_bf16(b_at(column, k));
  }
  // Registers of a thread one after the other: lane 4 g + t of warp w has rows 16 w + g and 8 below, columns
  // 2 t, 2 t + 1.
  std::vector<uint16_t> a(kThreads * 8);
  std::vector<float> d(kThreads * n / 2), expected(d.size());
  for (size_t thread = 0; thread < kThreads; ++thread) {
    const size_t row = thread / 32 * 16 + thread % 32 / 4, place = 2 * (thread % 4);
    for (size_t i = 0; i < 8; ++i)
      a[thread * 8 + i] = float_to_bf16(a_at(row + i / 2 % 2 * 8, place + i % 2 + i / 4 * 8));
    for (size_t i = 0; i < n / 2; ++i) {
      const size_t d_row = row + i / 2 % 2 * 8, column = i / 4 * 8 + place + i % 2;
      double sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += double{a_at(d_row, k)} * b_at(column, k);
      d[thread * n / 2 + i] = c_at(d_row, column);
      expected[thread * n / 2 + i] = static_cast<float>(c.scale_a * c.scale_b * sum +
                                                        (c.accumulates ? c_at(d_row, column) : 0));  // exact
    }
  }
  std::string loads, stores;
  for (size_t i = 0; i < n / 2; ++i) {
    const std::string at = "[%q4+" + std::to_string(4 * i) + "]";
    loads += "ld.global.f32 %c" + std::to_string(i) + ", " + at + ";\n";
    stores += "st.global.f32 " + at + ", %c" + std::to_string(i) + ";\n";
  }
  constexpr size_t kBase = kSharedBase;
  const auto number = [](auto x) { return std::to_string(x); };
  const Program program =
      kernel_of("image a d", R"(
    .shared .align 1024 .b8 tile[)" +
                                 number(image.size() * 2) + R"(];
    .reg .f32 %c<128>;
    mov.u32 %r1, %tid.x; mul.wide.u32 %q1, %r1, 16; add.s64 %q2, %q1, %image; add.s64 %q3, %q1, %a;
    mul.wide.u32 %q4, %r1, )" + number(2 * n) +
                                 R"(; add.s64 %q4, %q4, %d;
    mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 16, %r2; mov.u32 %r3, 0;
  FILL:
    ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%q2];
    st.shared.v4.u32 [%r2], {%r4, %r5, %r6, %r7};
    add.s64 %q2, %q2, 2048; add.u32 %r2, %r2, 2048; add.u32 %r3, %r3, 2048;
    setp.lt.u32 %p1, %r3, )" + number(image.size() * 2) +
                                 R"(;
    @%p1 bra FILL;
    fence.proxy.async;
    bar.sync 0;
    ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%q3];
    )" + loads + R"(
    mov.u64 %q5, )" + number(c.a.descriptor(kBase, 64)) +
                                 "; mov.u64 %q6, " + number(c.b.descriptor(kBase + a_bytes, n)) + R"(;
    setp.ne.u32 %p2, )" + number(c.accumulates ? 1 : 0) +
                                 R"(, 0;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n)" +
                                 number(n) + "k16.f32.bf16.bf16 " + list_of("c", 0, n / 2) + ", " +
                                 (c.a_in_registers ? "{%r4, %r5, %r6, %r7}" : "%q5") + ", %q6, %p2, " +
                                 number(c.scale_a) + ", " + number(c.scale_b) + ", " +
                                 (c.a_in_registers ? "" : number(c.a.mn_major ? 1 : 0) + ", ") +
                                 number(c.b.mn_major ? 1 : 0) + R"(;
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    )" + stores);
  GlobalMemory memory;
  const auto args = arguments(memory.add("image", std::span<const uint16_t>(image), Access::read_only),
                              memory.add("a", std::span<const uint16_t>(a), Access::read_only),
                              memory.add("d", std::span<float>(d), Access::read_write));
  RunOptions options;
  options.adversary = c.adversary;
  const Outcome outcome = run(program, {{1, 1, 1}, {kThreads, 1, 1}, 0, args}, memory, options);
  CHECK(outcome.reports_text() == "");
  CHECK(d == expected);
  CHECK(outcome.counters.warpgroup_macs == 64 * n * 16);
  CHECK(outcome.counters.tensor_macs == 0);
  // The image stored, the operands read once, without conflicts.
  CHECK(outcome.counters.shared_wavefronts == image.size() / 64 + n / 4 + (c.a_in_registers ? 0 : 16));
  CHECK(outcome.counters.shared_wavefronts_least == outcome.counters.shared_wavefronts);
}

}  // namespace

TEST_CASE("wgmma multiplies matrices in every canonical layout") {
  for (const size_t swizzle : {0, 32, 64, 128}) {
    for (const bool transposed : {false, true}) {
      CAPTURE(swizzle);
      CAPTURE(transposed);
      check_product({.b = {transposed, swizzle}});
      for (const size_t columns : {8, 24, 96, 192, 256}) {
        CAPTURE(columns);
        check_product({.columns = columns, .b = {transposed, swizzle}});
      }
      for (const size_t a_swizzle : {0, 32, 64, 128}) {
        CAPTURE(a_swizzle);
        for (const bool a_transposed : {false, true})
          check_product(
              {.b = {transposed, swizzle}, .a_in_registers = false, .a = {a_transposed, a_swizzle}});
      }
    }
  }
}

TEST_CASE("wgmma begins a sum, negates operands, sums in another order, and knows where a pattern begins") {
  check_product({.b = {true, 128}, .accumulates = false});
  check_product({.b = {false, 128}, .scale_a = -1});
  check_product({.b = {false, 64}, .scale_b = -1});
  check_product({.b = {false, 64}, .scale_a = -1, .scale_b = -1});
  check_product({.b = {true, 128}, .adversary = true});
  for (const size_t pattern_offset : {1, 3, 4, 7}) {
    CAPTURE(pattern_offset);
    check_product({.b = {false, 128, pattern_offset}});
    check_product({.b = {true, 128, pattern_offset}});
  }
  check_product({.b = {false, 64, 3}});
  check_product({.b = {true, 32, 1}});
}

namespace {

struct WrongUse {
  const char* name;
  Fault fault;
  const char* from;  // text of the sound kernel
  const char* to;    // what it is replaced by
};

/// Two groups of products: C = A B in four steps along a tile of 64 x 64 with 128-byte lines, then E = C' B'.
const std::string kSound = R"(
    .shared .align 1024 .b8 tile[8192];
    .reg .f32 %c<36>, %e<4>;
    .reg .b64 %step<4>;
    mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mad.lo.u32 %r2, %r1, 64, %r2;
    mul.wide.u32 %q1, %r1, 64; add.s64 %q1, %q1, %in;
    cp.async.cg.shared.global [%r2], [%q1], 16; cp.async.cg.shared.global [%r2+16], [%q1+16], 16;
    cp.async.cg.shared.global [%r2+32], [%q1+32], 16; cp.async.cg.shared.global [%r2+48], [%q1+48], 16;
    cp.async.commit_group;
    cp.async.wait_group 0; // WAIT
    fence.proxy.async.shared::cta; // PROXY
    bar.sync 0; // FILLED
    mov.b32 %r4, 0x3F803F80; mov.b32 %r5, 0x3F803F80; mov.b32 %r6, 0x3F803F80; mov.b32 %r7, 0x3F803F80;
    mov.u64 %step0, DESCRIPTOR; // STEP
    add.s64 %step1, %step0, 2; add.s64 %step2, %step0, 4; add.s64 %step3, %step0, 6;
    setp.ne.u32 %p1, 0, 0; setp.ne.u32 %p2, 1, 0; // SCALE
    ld.shared.u32 %r8, [%r2];
    // BEFORE
    wgmma.fence.sync.aligned; // FENCE
    // FENCED
    wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 C, {%r4, %r5, %r6, %r7}, %step0, %p1, 1, 1, 0;
    wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 C, {%r4, %r5, %r6, %r7}, %step1, %p2, 1, 1, 0;
    wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 C, {%r4, %r5, %r6, %r7}, %step2, %p2, 1, 1, 0;
    wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 C, {%r4, %r5, %r6, %r7}, %step3, %p2, 1, 1, 0;
    wgmma.commit_group.sync.aligned; // COMMIT
    // FIRST
    wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%e0, %e1, %e2, %e3}, {%r4, %r5, %r6, %r7}, %step0, %p1, 1, 1, 0;
    wgmma.commit_group.sync.aligned;
    // SECOND
    wgmma.wait_group.sync.aligned 1; // WAIT_FIRST
    add.f32 %f1, %c0, %c31;
    // BETWEEN
    wgmma.wait_group.sync.aligned 0; // WAIT_SECOND
    add.f32 %f1, %f1, %e0;
    // AFTER
    bar.sync 0; // READ
    st.shared.u32 [%r2], 0;
    mul.wide.u32 %q2, %r1, 4; add.s64 %q2, %q2, %out;
    st.global.f32 [%q2], %f1;)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

Outcome outcome_of(std::string body, uint64_t seed = 1, uint32_t threads = kThreads) {
  for (size_t at; (at = body.find(" C,")) != std::string::npos;) body.replace(at + 1, 1, list_of("c", 0, 32));
  if (body.find("DESCRIPTOR") != std::string::npos) {
    const uint64_t descriptor = kSharedBase / 16 | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
    body = replaced(body, "DESCRIPTOR", std::to_string(descriptor));
  }
  const Program program = kernel_of("in out", body);
  std::vector<uint16_t> input(64 * 64, 0x3F80);  // 1
  std::vector<float> output(kThreads);
  GlobalMemory memory;
  const auto args = arguments(memory.add("in", std::span<const uint16_t>(input), Access::read_only),
                              memory.add("out", std::span<float>(output), Access::write_first));
  Outcome outcome = run(program, {{1, 1, 1}, {threads, 1, 1}, 0, args}, memory, {.seed = seed});
  if (outcome.reports.empty()) {
    for (const float x : output) CHECK(x == 64 + 64 + 16);
  }
  return outcome;
}

const WrongUse kWrong[] = {
    {"a copy not waited for", Fault::async_in_flight, "cp.async.wait_group 0; // WAIT", ""},
    {"no proxy fence", Fault::missing_fence, "fence.proxy.async.shared::cta; // PROXY", ""},
    {"a proxy fence of half a warp", Fault::missing_fence, "fence.proxy.async.shared::cta; // PROXY",
     "and.b32 %r9, %r1, 16; setp.ne.u32 %p3, %r9, 0; @%p3 fence.proxy.async.shared::cta;"},
    {"a proxy fence before the copy has landed", Fault::missing_fence,
     "cp.async.wait_group 0; // WAIT\n    fence.proxy.async.shared::cta; // PROXY",
     "fence.proxy.async.shared::cta; cp.async.wait_group 0;"},
    {"a proxy fence of global memory", Fault::missing_fence, "fence.proxy.async.shared::cta; // PROXY",
     "fence.proxy.async.global;"},
    {"no barrier before other warps' copies are read", Fault::shared_race, "bar.sync 0; // FILLED", ""},
    {"a store after the fence", Fault::missing_fence, "bar.sync 0; // FILLED",
     "st.shared.u32 [%r2], 0x3F803F80; bar.sync 0;"},
    {"no wgmma.fence", Fault::missing_fence, "wgmma.fence.sync.aligned; // FENCE", ""},
    {"an operand written after wgmma.fence", Fault::missing_fence, "// FENCED", "mov.b32 %r4, 0x3F803F80;"},
    {"an accumulator touched between two products, without wgmma.fence", Fault::missing_fence, "// BETWEEN",
     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 C, {%r4, %r5, %r6, %r7}, %step0, %p2, 1, 1, 0; "
     "wgmma.commit_group.sync.aligned;"},
    {"an accumulator that was never written", Fault::uninitialised_register, "setp.ne.u32 %p1, 0, 0;",
     "setp.ne.u32 %p1, 1, 0;"},
    {"an operand that was never written", Fault::uninitialised_register, "mov.b32 %r5, 0x3F803F80;", ""},
    {"an accumulator read before the wait", Fault::async_in_flight, "// FIRST", "add.f32 %f1, %c0, %c1;"},
    {"an accumulator written before the wait", Fault::async_in_flight, "// FIRST",
     "mov.f32 %c0, 0f00000000;"},
    {"an operand written before the wait", Fault::async_in_flight, "// FIRST", "mov.b32 %r7, 0;"},
    {"an operand of the second group written after the first", Fault::async_in_flight, "// BETWEEN",
     "mov.b32 %r7, 0;"},
    {"an accumulator of the second group read after the first", Fault::async_in_flight, "// BETWEEN",
     "add.f32 %f1, %e0, %e1;"},
    {"no commit", Fault::async_in_flight, "wgmma.commit_group.sync.aligned; // COMMIT", ""},
    {"no wait", Fault::async_in_flight, "wgmma.wait_group.sync.aligned 1; // WAIT_FIRST", ""},
    {"waited for one group too few", Fault::async_in_flight,
     "wgmma.wait_group.sync.aligned 0; // WAIT_SECOND", "wgmma.wait_group.sync.aligned 1;"},
    {"accumulator of one product and operand of the next", Fault::async_in_flight, "// FIRST",
     "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%e0, %e1, %e2, %e3}, {%c0, %c1, %c2, %c3}, "
     "%step0, %p1, 1, 1, 0;"},
    {"two shapes on one accumulator", Fault::missing_fence, "// FIRST",
     "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%c0, %c1, %c2, %c3}, {%r4, %r5, %r6, %r7}, "
     "%step0, %p2, 1, 1, 0;"},
    {"shared memory written before the wait", Fault::async_in_flight, "// SECOND", "st.shared.u32 [%r2], 0;"},
    {"shared memory copied to before the wait", Fault::async_in_flight, "// SECOND",
     "cp.async.cg.shared.global [%r2+16], [%q1], 16;"},
    {"shared memory of the second group written after the first", Fault::async_in_flight, "// BETWEEN",
     "st.shared.u32 [%r2], 0;"},
    {"shared memory written while other warps may not have waited", Fault::shared_race, "bar.sync 0; // READ",
     ""},
    {"a warp that comes to no product", Fault::divergent_barrier, "// BEFORE",
     "setp.gt.u32 %p3, %r1, 95; @%p3 ret;"},
    {"a warp with another wgmma.fence", Fault::divergent_warpgroup, "// BEFORE",
     "setp.gt.u32 %p3, %r1, 95; @!%p3 bra ONE; wgmma.fence.sync.aligned; ONE:"},
    {"a warp with another wait at the end", Fault::divergent_warpgroup, "// AFTER",
     "setp.gt.u32 %p3, %r1, 95; @!%p3 bra ONE; wgmma.wait_group.sync.aligned 0; ONE:"},
    {"a warp at another product", Fault::divergent_warpgroup, "// FIRST",
     "setp.gt.u32 %p3, %r1, 95; @!%p3 bra ONE; wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%e0, "
     "%e1, %e2, %e3}, "
     "{%r4, %r5, %r6, %r7}, %step0, %p1, 1, 1, 0; ONE:"},
    {"lanes that have ended", Fault::divergent_warpgroup, "// BEFORE",
     "setp.gt.u32 %p3, %r1, 126; @%p3 ret;"},
    {"a scale that differs", Fault::invalid_operation, "// SCALE", "\nsetp.lt.u32 %p2, %r1, 5;"},
    {"a descriptor that differs within a warp", Fault::invalid_operation, "// STEP",
     "\nsetp.eq.u32 %p3, %r1, 5; @%p3 add.s64 %step0, %step0, 2;"},
    {"a descriptor that differs between warps", Fault::invalid_operation, "// STEP",
     "\nsetp.gt.u32 %p3, %r1, 95; @%p3 add.s64 %step0, %step0, 2;"},
    {"a matrix past the end of shared memory", Fault::out_of_bounds, "// STEP",
     "\nadd.s64 %step0, %step0, 64;"},
    {"a matrix before its beginning", Fault::out_of_bounds, "// STEP", "\nadd.s64 %step0, %step0, -64;"},
    {"a step past the line of the swizzle", Fault::misaligned, "// STEP", "\nadd.s64 %step0, %step0, 1;"},
    {"bits that mean nothing", Fault::invalid_operation, "// STEP",
     "\nor.b64 %step0, %step0, 1152921504606846976;"},
};

}  // namespace

TEST_CASE("every misuse of wgmma is found, whatever the order of warps, and sound use is not") {
  for (const uint64_t seed : {1, 2, 3}) {
    CHECK(outcome_of(kSound, seed).reports_text() == "");
    // The fence may stand on either side of the barrier.
    const std::string reader = replaced(replaced(kSound, "fence.proxy.async.shared::cta; // PROXY", ""),
                                        "// FILLED", "\nfence.proxy.async;");
    CHECK(outcome_of(reader, seed).reports_text() == "");
    for (const WrongUse& wrong : kWrong) {
      CAPTURE(wrong.name);
      const Outcome outcome = outcome_of(replaced(kSound, wrong.from, wrong.to), seed);
      CHECK_MESSAGE(outcome.has(wrong.fault), outcome.reports_text());
    }
    CHECK(outcome_of(kSound, seed, 96).has(Fault::divergent_warpgroup));
  }
}

TEST_CASE("each synchronisation around wgmma, deleted, is reported") {
  std::string body = kSound;
  for (size_t at; (at = body.find(" C,")) != std::string::npos;) body.replace(at + 1, 1, list_of("c", 0, 32));
  const uint64_t descriptor = kSharedBase / 16 | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
  const Program program = kernel_of("in out", replaced(body, "DESCRIPTOR", std::to_string(descriptor)));
  std::vector<uint16_t> input(64 * 64, 0x3F80);
  std::vector<float> output(kThreads);
  std::string unmissed;
  CHECK(program.syncs().size() == 10);
  for (const size_t sync : program.syncs()) {
    GlobalMemory memory;
    const auto args = arguments(memory.add("in", std::span<const uint16_t>(input), Access::read_only),
                                memory.add("out", std::span<float>(output), Access::write_first));
    const Outcome outcome = run(program.without(sync), {{1, 1, 1}, {kThreads, 1, 1}, 0, args}, memory);
    if (outcome.reports.empty()) unmissed += program.parsed[program.code[sync].parsed].opcode + "\n";
  }
  CHECK(unmissed == "");
}

TEST_CASE("a form of wgmma that is not known is an error") {
  const auto translates = [](const std::string& opcode, const std::string& operands) {
    CHECK_THROWS_AS(
        (void)kernel_of("in", ".reg .f32 %c<4>;\n" + opcode + " {%c0, %c1, %c2, %c3}, " + operands + ";"),
        Error);
  };
  const std::string sound = "%q1, %q2, %p1, 1, 1, 0, 0";
  (void)kernel_of(
      "in", ".reg .f32 %c<4>;\nwgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%c0, %c1, %c2, %c3}, " +
                sound + ";");
  translates("wgmma.mma_async.sync.aligned.m64n12k16.f32.bf16.bf16", sound);
  translates("wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16", sound);
  translates("wgmma.mma_async.sync.aligned.m64n8k32.f32.bf16.bf16", sound);
  translates("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16", sound);
  translates("wgmma.mma_async.aligned.m64n8k16.f32.bf16.bf16", sound);
  translates("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16", "%q1, %q2, %p1, 2, 1, 0, 0");
  translates("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16", "%q1, %q2, %p1, 1, 1, 0");
}
