// ldmatrix, mma and cp.async against plain matrices.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "tests/ptx_machine/number_formats.h"
#include "tests/ptx_machine/run_text.h"

using namespace ptx;
using namespace ptx::testing;

namespace {

float small_number(size_t i) {
  return static_cast<float>(static_cast<int>(i * 7919 % 31) - 15) / 8;
}

/// D = A B + C of one warp, fragments loaded element by element as the PTX manual lays them out (section on
/// mma.m16n8k16).
void check_mma(const std::string& opcode, bool is_half, bool adversary) {
  std::vector<uint16_t> a(16 * 16), b(16 * 8);
  std::vector<float> c(16 * 8), d(16 * 8), expected(16 * 8);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = is_half ? float_to_half(small_number(i)) : float_to_bf16(small_number(i));
  for (size_t i = 0; i < b.size(); ++i)
    b[i] = is_half ? float_to_half(small_number(3 * i + 1)) : float_to_bf16(small_number(3 * i + 1));
  for (size_t i = 0; i < c.size(); ++i) c[i] = small_number(5 * i + 2);
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      float sum = c[row * 8 + column];
      for (size_t k = 0; k < 16; ++k)
        sum += small_number(row * 16 + k) * small_number(3 * (k * 8 + column) + 1);
      expected[row * 8 + column] = sum;  // exact: eighths of small numbers
    }
  }
  // A is 16 x 16 by rows, B 16 x 8 by rows.
  std::string body = R"(
    mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 2; and.b32 %r3, %r1, 3;   // g, t
    mad.lo.u32 %r4, %r2, 16, 0; mad.lo.u32 %r4, %r3, 2, %r4; mul.wide.u32 %q1, %r4, 2; add.s64 %q1, %q1, %a;  // A[g][2t]
    ld.global.u32 %r5, [%q1]; ld.global.u32 %r6, [%q1+256]; ld.global.u32 %r7, [%q1+16]; ld.global.u32 %r8, [%q1+272];
    mul.lo.u32 %r4, %r3, 16; add.u32 %r4, %r4, %r2; mul.wide.u32 %q2, %r4, 2; add.s64 %q2, %q2, %b;           // B[2t][g]
    ld.global.u16 %h1, [%q2]; ld.global.u16 %h2, [%q2+16]; mov.b32 %r9, {%h1, %h2};
    ld.global.u16 %h1, [%q2+128]; ld.global.u16 %h2, [%q2+144]; mov.b32 %r10, {%h1, %h2};
    mul.lo.u32 %r4, %r2, 8; mad.lo.u32 %r4, %r3, 2, %r4; mul.wide.u32 %q3, %r4, 4; add.s64 %q4, %q3, %c; add.s64 %q5, %q3, %d;
    ld.global.v2.f32 {%f1, %f2}, [%q4]; ld.global.v2.f32 {%f3, %f4}, [%q4+256];
    )" + opcode + R"( {%f5,%f6,%f7,%f8}, {%r5,%r6,%r7,%r8}, {%r9,%r10}, {%f1,%f2,%f3,%f4};
    st.global.v2.f32 [%q5], {%f5, %f6}; st.global.v2.f32 [%q5+256], {%f7, %f8};)";
  const Program program = kernel_of("a b c d", body);
  GlobalMemory memory;
  const auto args = arguments(memory.add("a", std::span<const uint16_t>(a), Access::read_only),
                              memory.add("b", std::span<const uint16_t>(b), Access::read_only),
                              memory.add("c", std::span<const float>(c), Access::read_only),
                              memory.add("d", std::span<float>(d), Access::write_first));
  RunOptions options;
  options.adversary = adversary;
  const Outcome outcome = run(program, {{1, 1, 1}, {32, 1, 1}, 0, args}, memory, options);
  CHECK(outcome.reports_text() == "");
  CHECK(d == expected);
  CHECK(outcome.counters.tensor_macs == 16 * 8 * 16);
}

}  // namespace

TEST_CASE("mma.m16n8k16 multiplies matrices in the manual's layout") {
  check_mma("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", false, false);
  check_mma("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", true, false);
  check_mma("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", false, true);
}

TEST_CASE("ldmatrix hands out rows of 8 x 8 matrices, transposed or not, cp.async brings them") {
  for (const bool transposed : {false, true}) {
    std::vector<uint16_t> matrix(4 * 64);
    for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<uint16_t>(i);
    std::vector<uint32_t> output(4 * 32);
    const Program program = kernel_of("in out", R"(
      .shared .align 16 .b8 tile[512];
      mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mad.lo.u32 %r3, %r1, 16, %r2;
      mul.wide.u32 %q1, %r1, 16; add.s64 %q2, %q1, %in; add.s64 %q3, %q1, %out;
      cp.async.cg.shared.global [%r3], [%q2], 16;
      cp.async.commit_group; cp.async.wait_group 0; bar.warp.sync -1;
      ldmatrix.sync.aligned.m8n8.x4)" + std::string(transposed ? ".trans" : "") +
                                                    R"(.shared.b16 {%r4, %r5, %r6, %r7}, [%r3];
      st.global.v4.u32 [%q3], {%r4, %r5, %r6, %r7};)");
    GlobalMemory memory;
    const auto args = arguments(memory.add("in", std::span<const uint16_t>(matrix), Access::read_only),
                                memory.add("out", std::span<uint32_t>(output), Access::write_first));
    const Outcome outcome = run(program, {{1, 1, 1}, {32, 1, 1}, 0, args}, memory);
    CHECK(outcome.reports_text() == "");
    CHECK(outcome.counters.shared_wavefronts == outcome.counters.shared_wavefronts_least);
    for (size_t lane = 0; lane < 32; ++lane) {
      for (size_t m = 0; m < 4; ++m) {
        const size_t row = lane / 4, column = 2 * (lane % 4);
        const size_t first = m * 64 + (transposed ? column * 8 + row : row * 8 + column);
        const size_t second = m * 64 + (transposed ? (column + 1) * 8 + row : row * 8 + column + 1);
        CHECK(output[4 * lane + m] == (matrix[first] | static_cast<uint32_t>(matrix[second]) << 16));
      }
    }
  }
}

TEST_CASE("cp.async fills up with zeros beyond the source's size") {
  std::vector<uint32_t> input(32 * 4, 0x11111111), output(32 * 4);
  const Program program = kernel_of("in out", R"(
    .shared .align 16 .b8 tile[512];
    mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mad.lo.u32 %r3, %r1, 16, %r2;
    mul.wide.u32 %q1, %r1, 16; add.s64 %q2, %q1, %in; add.s64 %q3, %q1, %out;
    and.b32 %r4, %r1, 1; mul.lo.u32 %r4, %r4, 8;
    cp.async.cg.shared.global [%r3], [%q2], 16, %r4;
    cp.async.wait_all;
    ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [%r3];
    st.global.v4.u32 [%q3], {%r5, %r6, %r7, %r8};)");
  GlobalMemory memory;
  const auto args = arguments(memory.add("in", std::span<const uint32_t>(input), Access::read_only),
                              memory.add("out", std::span<uint32_t>(output), Access::write_first));
  CHECK(run(program, {{1, 1, 1}, {32, 1, 1}, 0, args}, memory).reports_text() == "");
  for (size_t i = 0; i < output.size(); ++i)
    CHECK(output[i] == (i / 4 % 2 == 1 && i % 4 < 2 ? 0x11111111U : 0U));
}

TEST_CASE("counts: sectors of global memory, wavefronts of shared memory, instructions") {
  std::vector<uint32_t> input(32 * 32), output(32);
  const auto counters_of = [&](const std::string& stride_in_words) {
    const Program program = kernel_of("in out", R"(
      .shared .align 16 .b8 tile[4096];
      mov.u32 %r1, %tid.x; mul.lo.u32 %r2, %r1, )" + stride_in_words +
                                                    R"(; mul.wide.u32 %q1, %r2, 4; add.s64 %q1, %q1, %in;
      ld.global.u32 %r3, [%q1];
      mov.u32 %r4, tile; mad.lo.u32 %r4, %r2, 4, %r4;
      st.shared.u32 [%r4], %r3;)");
    GlobalMemory memory;
    const auto args = arguments(memory.add("in", std::span<const uint32_t>(input), Access::read_only),
                                memory.add("out", std::span<uint32_t>(output), Access::write_first));
    return run(program, {{1, 1, 1}, {32, 1, 1}, 0, args}, memory).counters;
  };
  CHECK(counters_of("1").global_load_sectors == 4);
  CHECK(counters_of("1").shared_wavefronts == 1);
  CHECK(counters_of("8").global_load_sectors == 32);
  CHECK(counters_of("8").shared_wavefronts == 8);
  CHECK(counters_of("8").shared_wavefronts_least == 1);
  CHECK(counters_of("32").shared_wavefronts == 32);
  CHECK(counters_of("0").shared_wavefronts == 1);
  CHECK(counters_of("8").dram_read_bytes == 32 * 32);
}
