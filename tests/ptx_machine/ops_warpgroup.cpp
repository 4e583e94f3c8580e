// wgmma: products of matrices by the four warps of a warpgroup, asynchronous. D (64 x N) lies in registers,
// warp i holds rows 16 i to 16 i + 15 as it holds the accumulator of mma.m16n8k16, N / 8 of them side by
// side; A (64 x 16) lies there likewise or in shared memory, B (16 x N) in shared memory.
//
// A product is computed when the last of the four warps has come to it. Its registers and the shared memory
// that it reads are in flight until wgmma.wait_group: what touches them meanwhile is reported, so the moment
// does not matter.
//
// What the instruction costs in shared memory: hardware reads an operand once for the four warps, an 8 x 8
// part (128 bytes, in different banks in every canonical layout) a cycle. A in registers costs nothing.
#include <algorithm>
#include <array>

#include "tests/ptx_machine/handlers.h"
#include "tests/ptx_machine/matrix_descriptor.h"
#include "tests/ptx_machine/memory_access.h"

namespace ptx {
namespace {

constexpr uint32_t kRows = 64, kDepth = 16, kMostColumns = 256, kWarps = 4;
// Instruction::target: columns of the product, and what else the opcode fixes.
constexpr uint32_t kNegative = 1 << 16, kTransposeA = 1 << 17, kTransposeB = 1 << 18, kFlipScale = 1 << 19;

uint32_t columns_of(const Instruction& in) {
  return in.target & 0xFFFF;
}
size_t accumulators_of(const Instruction& in) {
  return columns_of(in) / 2;
}

/// An operand in shared memory.
struct SharedMatrix {
  MatrixDescriptor descriptor;
  bool mn_major = false;
  uint32_t rows = 0;  // in the dimension that is not k

  uint32_t unit_count() const { return rows * 2; }
  /// Unit i: eight of them in a row are an 8 x 8 part. K-major: rows r, elements 8 o ...; MN-major: k = r,
  /// rows 8 o ...
  std::optional<uint32_t> address(uint32_t i) const {
    return mn_major ? descriptor.mn_major(i / 16, i % 16) : descriptor.k_major(i / 16 * 8 + i % 8, i / 8 % 2);
  }
};

/// Reads it for `warps` of the warpgroup, checks and counts; element (row, k) becomes at(row, k).
template <class At>
void read_matrix(Warp& last, uint32_t first_warp, const SharedMatrix& matrix, At at) {
  LaneAddresses part{};
  for (uint32_t i = 0; i < matrix.unit_count(); ++i) {
    const std::optional<uint32_t> address = matrix.address(i);
    if (!address) {
      last.report(Fault::misaligned, 0, matrix.descriptor.start,
                  "the matrix crosses the line of its swizzle");
      return;
    }
    if (!check_shared(last, 0, *address, 16)) return;
    part[i % 8] = *address;
    if (i % 8 == 7) count_wavefronts(last, 0xFF, part, 16);
    for (uint32_t warp = first_warp; warp < first_warp + kWarps; ++warp) {
      Warp& reader = *last.block.warps[warp];
      report_shared(reader, 0, *address,
                    last.block.shared.begin_async_read(reader.accessor(0), reader.fenced, *address, 16));
      reader.products.in_flight.back().reads.emplace_back(*address, 16);
    }
    std::array<uint16_t, 8> elements;
    std::memcpy(elements.data(), last.block.shared.data() + *address, 16);
    for (uint32_t e = 0; e < 8; ++e) {
      const float value = bf16_to_float(elements[e]);
      if (matrix.mn_major)
        at(i / 16 * 8 + e, i % 16) = value;
      else
        at(i / 16 * 8 + i % 8, i / 8 % 2 * 8 + e) = value;
    }
  }
}

using Operand16 = std::array<std::array<float, kDepth>, kRows>;
using Columns = std::array<std::array<float, kMostColumns>, kDepth>;

/// A's rows of one warp from its registers.
void read_registers(Warp& w, const uint32_t* list, uint32_t first_row, Operand16& a) {
  for (uint32_t part = 0; part < 4; ++part) {
    const auto* from = w.lanes<uint32_t>(list[part]);
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      float* row = a[first_row + 8 * (part % 2) + lane / 4].data() + 8 * (part / 2) + 2 * (lane % 4);
      row[0] = bf16_to_float(static_cast<uint16_t>(from[lane]));
      row[1] = bf16_to_float(static_cast<uint16_t>(from[lane] >> 16));
    }
  }
}

/// The warp's 16 rows of D. An adversary adds C last and begins the sum elsewhere.
void multiply(Warp& w, const Instruction& in, bool accumulates, uint32_t first_row, const Operand16& a,
              const Columns& b) {
  const uint32_t* list = w.list(in);
  const uint32_t columns = columns_of(in);
  uint32_t first = 0;
  if (w.options().adversary) {
    w.random_state = w.random_state * 6364136223846793005U + 1442695040888963407U;
    first = static_cast<uint32_t>(w.random_state >> 33) % kDepth;
  }
  std::array<float, kMostColumns> before, sum;
  for (uint32_t row = 0; row < 16; ++row) {
    const uint32_t lane = row % 8 * 4;
    const uint32_t half = row / 8 * 2;
    for (uint32_t column = 0; column < columns; ++column)
      before[column] = accumulates
                           ? w.lanes<float>(list[column / 8 * 4 + half + column % 2])[lane + column % 8 / 2]
                           : 0.0F;
    if (w.options().adversary)
      std::fill_n(sum.begin(), columns, 0.0F);
    else
      std::copy_n(before.begin(), columns, sum.begin());
    for (uint32_t i = 0; i < kDepth; ++i) {
      const uint32_t k = w.options().adversary ? (first + 5 * i) % kDepth : i;
      const float factor = a[first_row + row][k];
      const float* values = b[k].data();
      for (uint32_t column = 0; column < columns; ++column) sum[column] += factor * values[column];
    }
    for (uint32_t column = 0; column < columns; ++column) {
      const float result = w.options().adversary ? sum[column] + before[column] : sum[column];
      w.lanes<float>(list[column / 8 * 4 + half + column % 2])[lane + column % 8 / 2] = result;
    }
  }
}

/// Registers of a product at its issue: A and, where it accumulates, D must hold values, and whoever has
/// touched them since the last wgmma.fence is too near; accumulating on what another product of the same
/// shape accumulates is in order.
void take_registers(Warp& w, const Instruction& in, bool accumulates) {
  const uint32_t* list = w.list(in);
  WarpgroupState& state = w.products;
  if (state.fences == 0) w.report(Fault::missing_fence, 0, 0, "no wgmma.fence before the first wgmma");
  for (uint32_t i = 0; i < in.list_size; ++i) {
    const uint32_t slot = list[i] / kSlotBytes;
    const bool is_accumulator = i < accumulators_of(in);
    const auto use = is_accumulator ? WarpgroupState::Use::accumulator : WarpgroupState::Use::operand;
    const bool in_flight = state.use[slot] != WarpgroupState::Use::none;
    if (in_flight && state.use[slot] != use)
      w.report(Fault::async_in_flight, 0, 0,
               "accumulator of one wgmma and operand of another, not waited for");
    if (!in_flight && !w.holds(slot) && (accumulates || !is_accumulator))
      w.report(Fault::uninitialised_register, 0, 0, "reads a register that was never written");
    if (state.touched[slot] == state.fences + 1)
      w.report(Fault::missing_fence, 0, 0, "a register was touched and no wgmma.fence came since");
    if (is_accumulator) {
      if (in_flight && state.shape[slot] != columns_of(in))
        w.report(Fault::missing_fence, 0, 0,
                 "accumulates on what a wgmma of another shape, not waited for, accumulates");
      state.shape[slot] = columns_of(in);
    }
    w.take_for_product(slot, use);
  }
}

/// The value that all lanes of the warpgroup must have.
uint64_t uniform(Warp& last, uint32_t first_warp, uint32_t offset) {
  const uint64_t value = last.lanes<uint64_t>(offset)[0];
  for (uint32_t warp = first_warp; warp < first_warp + kWarps; ++warp) {
    const auto* lanes = last.block.warps[warp]->lanes<uint64_t>(offset);
    if (std::any_of(lanes, lanes + kWarpSize, [&](uint64_t x) { return x != value; }))
      last.block.warps[warp]->report(Fault::invalid_operation, 0, value,
                                     "a descriptor that differs within the warpgroup");
  }
  return value;
}

/// All live lanes have come; and the warp's record of what it executed.
bool enter(Warp& w) {
  if (!w.gather(w.live())) return false;
  if (w.live() != kAllLanes)
    w.report(Fault::divergent_warpgroup, 0, w.live(), "lanes of the warp have ended");
  w.products.history = w.products.history * 1000003 + w.pc + 1;
  return true;
}

void run_product(Warp& w, const Instruction& in) {
  if (!enter(w)) return;
  const uint32_t first_warp = w.number / kWarps * kWarps;
  if (first_warp + kWarps > w.block.warps.size()) {
    w.report(Fault::divergent_warpgroup, 0, w.number, "a warpgroup is four warps");
    return;
  }
  if (!w.block.meet_warpgroup(w.number)) return;
  for (uint32_t warp = first_warp; warp < first_warp + kWarps; ++warp) {
    Warp& other = *w.block.warps[warp];
    if (other.current == w.current && other.products.history == w.products.history) continue;
    other.report(Fault::divergent_warpgroup, 0, warp,
                 "the warps of the warpgroup have executed other instructions of wgmma");
    return;
  }
  std::array<bool, kWarps> accumulates;
  for (uint32_t i = 0; i < kWarps; ++i) {
    Warp& other = *w.block.warps[first_warp + i];
    const uint32_t scale = other.predicate(in.c) ^ ((in.target & kFlipScale) != 0 ? kAllLanes : 0);
    if (scale != 0 && scale != kAllLanes)
      other.report(Fault::invalid_operation, 0, scale, "scale-d differs within the warp");
    accumulates[i] = scale != 0;
    take_registers(other, in, accumulates[i]);
    other.products.in_flight.push_back({&in, other.products.committed_groups, {}});
  }

  static thread_local Operand16 a;
  static thread_local Columns b;
  const auto take = [&](uint32_t descriptor, bool mn_major, uint32_t rows, auto at) {
    const uint64_t bits = uniform(w, first_warp, descriptor);
    const std::optional<MatrixDescriptor> decoded = MatrixDescriptor::decode(bits);
    if (decoded)
      read_matrix(w, first_warp, {*decoded, mn_major, rows}, at);
    else
      w.report(Fault::invalid_operation, 0, bits, "no matrix descriptor");
  };
  take(in.b, (in.target & kTransposeB) != 0, columns_of(in),
       [](uint32_t row, uint32_t k) -> float& { return b[k][row]; });
  if (in.a == kNoSlot) {
    for (uint32_t i = 0; i < kWarps; ++i) {
      Warp& other = *w.block.warps[first_warp + i];
      read_registers(other, other.list(in) + accumulators_of(in), 16 * i, a);
    }
  } else {
    take(in.a, (in.target & kTransposeA) != 0, kRows,
         [](uint32_t row, uint32_t k) -> float& { return a[row][k]; });
  }
  if ((in.target & kNegative) != 0) {
    for (auto& row : a) {
      for (float& x : row) x = -x;
    }
  }
  for (uint32_t i = 0; i < kWarps; ++i)
    multiply(*w.block.warps[first_warp + i], in, accumulates[i], 16 * i, a, b);
  w.counters().warpgroup_macs += uint64_t{kRows} * columns_of(in) * kDepth;
}

void run_fence(Warp& w, const Instruction&) {
  if (enter(w)) ++w.products.fences;
}

void run_commit(Warp& w, const Instruction&) {
  if (enter(w)) ++w.products.committed_groups;
}

/// Ends the products of all but the last in.offset groups.
void run_wait(Warp& w, const Instruction& in) {
  if (!enter(w)) return;
  WarpgroupState& state = w.products;
  while (!state.in_flight.empty()) {
    const WarpgroupState::Product& product = state.in_flight.front();
    if (product.group + static_cast<uint64_t>(in.offset) >= state.committed_groups) break;
    for (const auto& [offset, bytes] : product.reads)
      w.block.shared.end_async_read(w.accessor(0), offset, bytes);
    const uint32_t* list = w.list(*product.instruction);
    for (uint32_t i = 0; i < product.instruction->list_size; ++i) w.return_from_product(list[i] / kSlotBytes);
    state.in_flight.pop_front();
  }
  // What those that are left share with those that have ended.
  for (const WarpgroupState::Product& product : state.in_flight) {
    for (const auto& [offset, bytes] : product.reads) w.block.shared.mark_async_read(w.number, offset, bytes);
    const uint32_t* list = w.list(*product.instruction);
    for (uint32_t i = 0; i < product.instruction->list_size; ++i) {
      w.take_for_product(list[i] / kSlotBytes, i < accumulators_of(*product.instruction)
                                                   ? WarpgroupState::Use::accumulator
                                                   : WarpgroupState::Use::operand);
    }
  }
}

/// A number that the instruction fixes.
int64_t immediate(Build& build, size_t i) {
  if (build.operand(i).kind != Operand::Kind::integer) build.unknown("expected a number");
  return static_cast<int64_t>(build.operand(i).bits);
}

void translate_product(Build& build) {
  const std::optional<std::string> columns = build.take_prefixed("m64n");
  if (!columns || !columns->ends_with("k16")) build.unknown("no such shape");
  const int n = std::stoi(*columns);
  if (n < 8 || n > 256 || n % 8 != 0 || *columns != std::to_string(n) + "k16") build.unknown("no such shape");
  if (build.take_type() != Type::f32 || build.take_type() != Type::bf16 || build.take_type() != Type::bf16)
    build.unknown("no such types");
  Instruction& in = build.in;
  // The registers in flight are the handler's to check, not the interpreter's.
  const auto registers = [&](size_t operand) {
    const size_t sources = build.sources.size();
    build.source_list(operand, Type::b32);
    build.sources.resize(sources);
  };
  registers(0);
  const bool from_registers = build.operand(1).kind == Operand::Kind::vector;
  if (from_registers)
    registers(1);
  else
    in.a = build.source(1, Type::b64);
  if (static_cast<int>(in.list_size) != n / 2 + (from_registers ? 4 : 0))
    build.unknown("number of registers");
  in.b = build.source(2, Type::b64);
  in.c = build.source(3, Type::pred);
  in.target = static_cast<uint32_t>(n) | (build.operand(3).negated ? kFlipScale : 0);
  const size_t operands = from_registers ? 7 : 8;
  if (build.operand_count() != operands) build.unknown("number of operands");
  const int64_t scale_a = immediate(build, 4), scale_b = immediate(build, 5);
  if (scale_a * scale_a != 1 || scale_b * scale_b != 1) build.unknown("a scale other than 1 and -1");
  if (scale_a != scale_b) in.target |= kNegative;
  if (!from_registers && immediate(build, 6) != 0) in.target |= kTransposeA;
  if (immediate(build, operands - 1) != 0) in.target |= kTransposeB;
  in.run = run_product;
  in.unit = Unit::tensor;
}

void translate_wgmma(Build& build) {
  build.scope().program().has_wgmma = true;
  if (!build.take("sync") || !build.take("aligned")) build.unknown("without .sync.aligned");
  if (build.take("mma_async")) return translate_product(build);
  build.in.unit = Unit::control;
  build.in.is_sync = true;
  if (build.take("fence")) {
    build.in.run = run_fence;
  } else if (build.take("commit_group")) {
    build.in.run = run_commit;
  } else if (build.take("wait_group")) {
    build.in.run = run_wait;
    build.in.offset = immediate(build, 0);
  }
}

constexpr Opcode kOpcodes[] = {{"wgmma", translate_wgmma}};

}  // namespace

std::span<const Opcode> warpgroup_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
