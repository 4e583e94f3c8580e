// Kernels that are wrong on purpose, one for every class of fault, and beside each the same kernel made right.
#include <doctest/doctest.h>

#include "tests/ptx_machine/run_text.h"

using namespace ptx;
using namespace ptx::testing;

namespace {

/// 64 threads in two blocks; `in` 64 words to read, `out` 64 words not yet written. %r1 is the thread, %q1
/// its place in `in`, %q2 in `out`, %r2 its own word of `tile`, 64 words of shared memory, %r3 that of its
/// neighbour in the other warp.
Outcome outcome_of(const std::string& body, uint64_t seed = 1) {
  const Program program = kernel_of("in out", R"(
    .shared .align 16 .b8 tile[1024];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %q3, %r1, 4;
    add.s64 %q1, %q3, %in;
    add.s64 %q2, %q3, %out;
    mov.u32 %r4, tile;
    shl.b32 %r5, %r1, 2;
    add.u32 %r2, %r4, %r5;
    xor.b32 %r3, %r2, 128;
    )" + body);
  std::vector<uint32_t> input(64), output(64);
  for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<uint32_t>(i + 1);
  GlobalMemory memory;
  const auto args = arguments(memory.add("in", std::span<const uint32_t>(input), Access::read_only),
                              memory.add("out", std::span<uint32_t>(output), Access::write_first));
  return run(program, {{2, 1, 1}, {64, 1, 1}, 0, args}, memory, {.seed = seed, .instruction_limit = 100000});
}

struct Fault_ {
  const char* name;
  Fault fault;
  const char* wrong;
  const char* right;
};

const Fault_ kFaults[] = {
    {"read past the end", Fault::out_of_bounds, "ld.global.u32 %r6, [%q1+4];", "ld.global.u32 %r6, [%q1];"},
    {"read before the beginning", Fault::out_of_bounds, "ld.global.u32 %r6, [%q1+-4];",
     "ld.global.u32 %r6, [%q1+0];"},
    {"a pointer to nowhere", Fault::out_of_bounds, "ld.global.u32 %r6, [%q3];", "ld.global.u32 %r6, [%q1];"},
    {"shared memory past its end", Fault::out_of_bounds, "st.shared.u32 [%r2+1024], %r1;",
     "st.shared.u32 [%r2], %r1;"},
    {"shared memory before its beginning", Fault::out_of_bounds, "st.shared.u32 [%r5], %r1;",
     "st.shared.u32 [%r2], %r1;"},
    {"misaligned", Fault::misaligned, "add.s64 %q4, %in, 4; ld.global.v2.u32 {%r6, %r7}, [%q4];",
     "add.s64 %q4, %in, 8; ld.global.v2.u32 {%r6, %r7}, [%q4];"},
    {"misaligned in shared memory", Fault::misaligned, "st.shared.u64 [%r2+4], %q1;",
     "add.u32 %r6, %r2, %r5; st.shared.u64 [%r6], %q1;"},
    {"write to read-only memory", Fault::write_to_read_only, "st.global.u32 [%q1], 0;",
     "st.global.u32 [%q2], 0;"},
    {"register never written", Fault::uninitialised_register, "add.u32 %r6, %r7, 1;",
     "mov.u32 %r7, 0; add.u32 %r6, %r7, 1;"},
    {"register written on one path only", Fault::uninitialised_register,
     "setp.lt.u32 %p1, %r1, 5; @%p1 mov.u32 %r7, 0; add.u32 %r6, %r7, 1;",
     "setp.lt.u32 %p1, %r1, 5; @%p1 mov.u32 %r7, 0; @!%p1 mov.u32 %r7, 2; add.u32 %r6, %r7, 1;"},
    {"predicate never written", Fault::uninitialised_register, "@%p1 add.u32 %r6, %r1, 1;",
     "setp.eq.u32 %p1, %r1, 0; @%p1 add.u32 %r6, %r1, 1;"},
    {"result read before it is written", Fault::uninitialised_memory, "ld.global.u32 %r6, [%q2];",
     "st.global.u32 [%q2], %r1; ld.global.u32 %r6, [%q2];"},
    {"shared memory never written", Fault::uninitialised_memory, "ld.shared.u32 %r6, [%r2];",
     "st.shared.u32 [%r2], 0; ld.shared.u32 %r6, [%r2];"},
    {"local memory never written", Fault::uninitialised_memory,
     ".local .align 4 .b8 depot[8]; mov.u64 %q4, depot; ld.local.u32 %r6, [%q4];",
     ".local .align 4 .b8 depot[8]; mov.u64 %q4, depot; st.local.u32 [%q4], 1; ld.local.u32 %r6, [%q4];"},
    {"no barrier between write and read", Fault::shared_race,
     "st.shared.u32 [%r2], 0; st.shared.u32 [%r3+512], 1; bar.sync 0; "
     "st.shared.u32 [%r2], %r1; ld.shared.u32 %r6, [%r3];",
     "st.shared.u32 [%r2], 0; bar.sync 0; st.shared.u32 [%r2], %r1; bar.sync 0; ld.shared.u32 %r6, [%r3];"},
    {"no barrier between read and write", Fault::shared_race,
     "st.shared.u32 [%r2], %r1; bar.sync 0; ld.shared.u32 %r6, [%r3]; st.shared.u32 [%r2], 77;",
     "st.shared.u32 [%r2], %r1; bar.sync 0; ld.shared.u32 %r6, [%r3]; bar.sync 0; st.shared.u32 [%r2], 77;"},
    {"two writers, different values", Fault::shared_race, "st.shared.u32 [%r4], %r1;",
     "st.shared.u32 [%r4], 5;"},
    {"lanes of one warp without its barrier", Fault::shared_race,
     "st.shared.u32 [%r2], %r1; xor.b32 %r6, %r2, 4; ld.shared.u32 %r7, [%r6];",
     "st.shared.u32 [%r2], %r1; bar.warp.sync -1; xor.b32 %r6, %r2, 4; ld.shared.u32 %r7, [%r6];"},
    {"an asynchronous copy not waited for", Fault::async_in_flight,
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.commit_group; ld.shared.u32 %r6, [%r2];",
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 "
     "%r6, [%r2];"},
    {"waited for one group too few", Fault::async_in_flight,
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 "
     "%r6, [%r2];",
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.commit_group; cp.async.commit_group; "
     "cp.async.wait_group 1; "
     "ld.shared.u32 %r6, [%r2];"},
    {"waited for without having been committed", Fault::async_in_flight,
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.wait_group 0; ld.shared.u32 %r6, [%r2];",
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.wait_all; ld.shared.u32 %r6, [%r2];"},
    {"a copy over what others still read", Fault::shared_race,
     "st.shared.u32 [%r2], 3; bar.sync 0; ld.shared.u32 %r6, [%r3]; cp.async.ca.shared.global [%r2], [%q1], "
     "4; cp.async.wait_all;",
     "st.shared.u32 [%r2], 3; bar.sync 0; ld.shared.u32 %r6, [%r3]; bar.sync 0; cp.async.ca.shared.global "
     "[%r2], [%q1], 4; "
     "cp.async.wait_all;"},
    {"another thread's copy, waited for but without a barrier", Fault::shared_race,
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.wait_all; ld.shared.u32 %r6, [%r3];",
     "cp.async.ca.shared.global [%r2], [%q1], 4; cp.async.wait_all; bar.sync 0; ld.shared.u32 %r6, [%r3];"},
    {"a mask without the lane itself", Fault::bad_membermask, "shfl.sync.idx.b32 %r6, %r1, 0, 31, 0xFFFF;",
     "shfl.sync.idx.b32 %r6, %r1, 0, 31, 0xFFFFFFFF;"},
    {"a mask with lanes that have ended", Fault::bad_membermask,
     "and.b32 %r6, %r1, 31; setp.gt.u32 %p1, %r6, 15; @%p1 ret; shfl.sync.idx.b32 %r6, %r1, 0, 31, -1;",
     "and.b32 %r6, %r1, 31; setp.gt.u32 %p1, %r6, 15; @%p1 ret; shfl.sync.idx.b32 %r6, %r1, 0, 31, 0xFFFF;"},
    {"a mask with lanes that a predicate keeps away", Fault::bad_membermask,
     "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 16; mov.u32 %r7, 0; @%p1 shfl.sync.idx.b32 %r7, %r1, 0, "
     "31, -1;",
     "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 16; mov.u32 %r7, 0; @%p1 shfl.sync.idx.b32 %r7, %r1, 0, "
     "31, 0xFFFF;"},
    {"a barrier that half a warp does not come to", Fault::divergent_barrier,
     "setp.lt.u32 %p1, %r1, 16; @%p1 bra THERE; bar.sync 1; bra END; THERE: bar.sync 0; END: mov.u32 %r6, 0;",
     "setp.lt.u32 %p1, %r1, 16; @%p1 bra THERE; bra END; THERE: mov.u32 %r6, 0; END: bar.sync 0;"},
    {"a barrier that a warp does not come to", Fault::divergent_barrier,
     "setp.lt.u32 %p1, %r1, 32; @%p1 ret; bar.sync 0;", "setp.lt.u32 %p1, %r1, 32; bar.sync 0; @%p1 ret;"},
    {"lanes that wait for one another at different shuffles", Fault::deadlock,
     "and.b32 %r6, %r1, 1; setp.eq.u32 %p1, %r6, 0; @%p1 bra THERE; shfl.sync.idx.b32 %r7, %r1, 0, 31, -1; "
     "bra END; "
     "THERE: shfl.sync.idx.b32 %r7, %r1, 1, 31, -1; END: mov.u32 %r6, 0;",
     "shfl.sync.idx.b32 %r7, %r1, 0, 31, -1;"},
    {"an endless loop", Fault::deadlock, "LOOP: setp.ne.u64 %p1, %out, 0; @%p1 bra LOOP;",
     "LOOP: setp.eq.u64 %p1, %out, 0; @%p1 bra LOOP;"},
    {"blocks that write different values to one place", Fault::global_race,
     "mov.u32 %r6, %ctaid.x; st.global.u32 [%q2], %r6;", "st.global.u32 [%q2], %r1;"},
    {"threads of a block that write different values to one place", Fault::global_race,
     "st.global.u32 [%out], %r1;", "st.global.u32 [%out], 3;"},
    {"a read of what another thread has just written", Fault::global_race,
     "mov.u32 %r6, %ctaid.x; setp.ne.u32 %p1, %r6, 0; @%p1 ret; st.global.u32 [%q2], %r1; bar.sync 0; "
     "st.global.u32 [%q2], 9; "
     "xor.b32 %r7, %r5, 128; cvt.u64.u32 %q4, %r7; add.s64 %q4, %q4, %out; ld.global.u32 %r8, [%q4];",
     "mov.u32 %r6, %ctaid.x; setp.ne.u32 %p1, %r6, 0; @%p1 ret; st.global.u32 [%q2], %r1; bar.sync 0; "
     "xor.b32 %r7, %r5, 128; cvt.u64.u32 %q4, %r7; add.s64 %q4, %q4, %out; ld.global.u32 %r8, [%q4];"},
    {"an address of another space", Fault::invalid_operation, "cvta.to.shared.u64 %q4, %in;",
     "mov.u64 %q4, tile; cvta.shared.u64 %q5, %q4; cvta.to.shared.u64 %q4, %q5;"},
};

}  // namespace

TEST_CASE("every class of fault is found, whatever the order of warps, and only there") {
  for (const Fault_& f : kFaults) {
    CAPTURE(f.name);
    for (const uint64_t seed : {1, 2, 3}) {
      const Outcome wrong = outcome_of(f.wrong, seed);
      CHECK_MESSAGE(wrong.has(f.fault), wrong.reports_text());
      CHECK(outcome_of(f.right, seed).reports_text() == "");
    }
  }
}

TEST_CASE("a report names kernel, line, block, thread and address") {
  const Outcome outcome = outcome_of("\n.loc 1 42 3\nld.global.u32 %r6, [%q1+4];\n");
  REQUIRE(outcome.reports.size() == 1);
  const Report& report = outcome.reports[0];
  CHECK(report.kernel == "k");
  CHECK(report.place.find(":42") != std::string::npos);
  CHECK(report.place.find("ld.global.u32") != std::string::npos);
  CHECK(report.thread == 63);
  CHECK(report.detail == "in+256 of 256 bytes");
  CHECK(report.times == 2);  // in both blocks
}

TEST_CASE("each barrier of a sound kernel, deleted, is reported") {
  const Program program = kernel_of("in out", R"(
    .shared .align 16 .b8 tile[256];
    mov.u32 %r1, %tid.x; shl.b32 %r5, %r1, 2; mov.u32 %r4, tile; add.u32 %r2, %r4, %r5; xor.b32 %r3, %r2, 128;
    cvt.u64.u32 %q3, %r5; add.s64 %q1, %q3, %in; add.s64 %q2, %q3, %out;
    mov.u32 %r7, 0; mov.u32 %r8, 0;
  LOOP:
    cp.async.ca.shared.global [%r2], [%q1], 4;
    cp.async.commit_group;
    cp.async.wait_group 0;
    bar.sync 0;
    ld.shared.u32 %r6, [%r3];
    add.u32 %r7, %r7, %r6;
    bar.sync 0;
    add.u32 %r8, %r8, 1;
    setp.lt.u32 %p1, %r8, 3;
    @%p1 bra LOOP;
    st.global.u32 [%q2], %r7;)");
  std::vector<uint32_t> input(64, 5), output(64);
  const auto run_it = [&](const Program& variant) {
    GlobalMemory memory;
    const auto args = arguments(memory.add("in", std::span<const uint32_t>(input), Access::read_only),
                                memory.add("out", std::span<uint32_t>(output), Access::write_first));
    return run(variant, {{1, 1, 1}, {64, 1, 1}, 0, args}, memory);
  };
  CHECK(run_it(program).reports_text() == "");
  CHECK(program.syncs().size() == 4);
  for (const size_t sync : program.syncs()) {
    CAPTURE(program.describe(program.code[sync]));
    CHECK(run_it(program.without(sync)).reports_text() != "");
  }
}
