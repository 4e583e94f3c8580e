// ldmatrix, stmatrix and mma.sync. Layouts of the fragments are those of the PTX manual: with group g = lane
// / 4 and place t = lane % 4, a lane holds elements 2t and 2t + 1 of row g of each 8 x 8 part of A, of column
// g of each part of B, and of row g of each part of the accumulator.
#include <algorithm>

#include "tests/ptx_machine/handlers.h"
#include "tests/ptx_machine/memory_access.h"

namespace ptx {
namespace {

template <bool kTransposed>
void run_ldmatrix(Warp& w, const Instruction& in) {
  if (!w.gather(kAllLanes)) return;
  const LaneAddresses addresses = in.a == kNoSlot ? same_address(static_cast<uint64_t>(in.offset))
                                  : in.e != 0     ? lane_addresses<true>(w, in.a, in.offset)
                                                  : lane_addresses<false>(w, in.a, in.offset);
  const uint32_t* list = w.list(in);
  for (uint32_t matrix = 0; matrix < in.list_size; ++matrix) {
    std::array<std::array<uint16_t, 8>, 8> rows{};
    LaneAddresses row_addresses{};
    for (uint32_t row = 0; row < 8; ++row) {
      const int lane = static_cast<int>(8 * matrix + row);
      const uint64_t address = addresses[static_cast<size_t>(lane)];
      row_addresses[row] = address;
      if (!check_shared(w, lane, address, 16)) continue;
      // Every lane of the warp gets part of the row.
      SharedMemory::Accessor who = w.accessor(lane);
      report_shared(w, lane, address, w.block.shared.read(who, static_cast<uint32_t>(address), 16));
      std::memcpy(rows[row].data(), w.block.shared.data() + address, 16);
    }
    count_wavefronts(w, 0xFF, row_addresses, 16);
    auto* d = w.lanes<uint32_t>(list[matrix]);
    for (size_t lane = 0; lane < kWarpSize; ++lane) {
      const size_t group = lane / 4, place = 2 * (lane % 4);
      const uint16_t low = kTransposed ? rows[place][group] : rows[group][place];
      const uint16_t high = kTransposed ? rows[place + 1][group] : rows[group][place + 1];
      d[lane] = uint32_t{high} << 16 | low;
    }
  }
}

template <bool kTransposed>
void run_stmatrix(Warp& w, const Instruction& in) {
  if (!w.gather(kAllLanes)) return;
  const LaneAddresses addresses =
      in.e != 0 ? lane_addresses<true>(w, in.a, in.offset) : lane_addresses<false>(w, in.a, in.offset);
  const uint32_t* list = w.list(in);
  for (uint32_t matrix = 0; matrix < in.list_size; ++matrix) {
    std::array<std::array<uint16_t, 8>, 8> rows{};
    const auto* a = w.lanes<uint32_t>(list[matrix]);
    for (size_t lane = 0; lane < kWarpSize; ++lane) {
      const size_t group = lane / 4, place = 2 * (lane % 4);
      (kTransposed ? rows[place][group] : rows[group][place]) = static_cast<uint16_t>(a[lane]);
      (kTransposed ? rows[place + 1][group] : rows[group][place + 1]) = static_cast<uint16_t>(a[lane] >> 16);
    }
    LaneAddresses row_addresses{};
    for (uint32_t row = 0; row < 8; ++row) {
      const int lane = static_cast<int>(8 * matrix + row);
      const uint64_t address = addresses[static_cast<size_t>(lane)];
      row_addresses[row] = address;
      if (!check_shared(w, lane, address, 16)) continue;
      const auto* value = reinterpret_cast<const uint8_t*>(rows[row].data());
      report_shared(w, lane, address,
                    w.block.shared.write(w.accessor(lane), static_cast<uint32_t>(address), 16, value));
      std::memcpy(w.block.shared.data() + address, value, 16);
    }
    count_wavefronts(w, 0xFF, row_addresses, 16);
  }
}

void translate_matrix_move(Build& build) {
  const bool load = build.base() == "ldmatrix";
  build.take_any({"sync", "aligned", "m8n8", "shared", "shared::cta"});
  const bool transposed = build.take("trans");
  const int count = build.take("x1") ? 1 : build.take("x2") ? 2 : build.take("x4") ? 4 : 0;
  if (build.need_type() != Type::b16 || count == 0) build.unknown("no such form");
  const Build::AddressOperand address = build.address(build.operand(load ? 1 : 0));
  build.in.a = address.base;
  build.in.e = address.wide ? 1 : 0;
  build.in.offset = address.offset;
  if (load)
    build.result_list(0);
  else
    build.source_list(1, Type::b32);
  if (static_cast<int>(build.in.list_size) != count) build.unknown("number of registers");
  build.in.unit = Unit::shared_memory;
  build.in.run = load ? (transposed ? run_ldmatrix<true> : run_ldmatrix<false>)
                      : (transposed ? run_stmatrix<true> : run_stmatrix<false>);
}

// ---- mma

using Row = float __attribute__((vector_size(32)));  // 8 columns of the accumulator

/// C (16 x 8) += A (16 x kDepth) B (kDepth x 8), sums in the order of k, or in a shuffled one by an adversary.
template <int kDepth>
void multiply(Warp& w, const std::array<std::array<float, kDepth>, 16>& a, const std::array<Row, kDepth>& b,
              std::array<Row, 16>& c) {
  if (w.options().adversary) {
    // C last, k in an order of the instruction's own.
    uint64_t& random = w.random_state;
    random = random * 6364136223846793005U + 1442695040888963407U;
    const auto first = static_cast<int>(random >> 33) % kDepth;
    for (size_t row = 0; row < 16; ++row) {
      Row sum = {};
      for (int i = 0; i < kDepth; ++i) {
        const auto k = static_cast<size_t>((first + 5 * i) % kDepth);
        sum += a[row][k] * b[k];
      }
      c[row] += sum;
    }
    return;
  }
  for (size_t row = 0; row < 16; ++row) {
    Row sum = c[row];
    for (size_t k = 0; k < kDepth; ++k) sum += a[row][k] * b[k];
    c[row] = sum;
  }
}

struct Bf16Format {
  static float low(uint32_t word) { return std::bit_cast<float>(word << 16); }
  static float high(uint32_t word) { return std::bit_cast<float>(word & 0xFFFF0000); }
};
struct HalfFormat {
  static float low(uint32_t word) { return half_to_float(static_cast<uint16_t>(word)); }
  static float high(uint32_t word) { return half_to_float(static_cast<uint16_t>(word >> 16)); }
};

/// in.list: 4 registers of D, then of A, B and C.
template <class Format, int kDepth>
void run_mma(Warp& w, const Instruction& in) {
  if (!w.gather(kAllLanes)) return;
  constexpr size_t kA = kDepth / 4, kB = kDepth / 8;  // registers
  const uint32_t* list = w.list(in);
  std::array<std::array<float, kDepth>, 16> a;
  std::array<Row, kDepth> b;
  std::array<Row, 16> c;
  for (size_t part = 0; part < kA; ++part) {
    // Parts of A: rows 0-7, rows 8-15, then the same for the next 8 columns.
    const auto* from = w.lanes<uint32_t>(list[4 + part]);
    const size_t row = 8 * (part % 2), column = 8 * (part / 2);
    for (size_t lane = 0; lane < kWarpSize; ++lane) {
      a[row + lane / 4][column + 2 * (lane % 4)] = Format::low(from[lane]);
      a[row + lane / 4][column + 2 * (lane % 4) + 1] = Format::high(from[lane]);
    }
  }
  for (size_t part = 0; part < kB; ++part) {
    const auto* from = w.lanes<uint32_t>(list[4 + kA + part]);
    for (size_t lane = 0; lane < kWarpSize; ++lane) {
      b[8 * part + 2 * (lane % 4)][lane / 4] = Format::low(from[lane]);
      b[8 * part + 2 * (lane % 4) + 1][lane / 4] = Format::high(from[lane]);
    }
  }
  const uint32_t* c_list = list + 4 + kA + kB;
  for (size_t half = 0; half < 2; ++half) {
    const auto* even = w.lanes<float>(c_list[2 * half]);
    const auto* odd = w.lanes<float>(c_list[2 * half + 1]);
    for (size_t row = 0; row < 8; ++row) {
      for (size_t t = 0; t < 4; ++t) {
        c[8 * half + row][2 * t] = even[4 * row + t];
        c[8 * half + row][2 * t + 1] = odd[4 * row + t];
      }
    }
  }
  multiply<kDepth>(w, a, b, c);
  for (size_t half = 0; half < 2; ++half) {
    auto* even = w.lanes<float>(list[2 * half]);
    auto* odd = w.lanes<float>(list[2 * half + 1]);
    for (size_t row = 0; row < 8; ++row) {
      for (size_t t = 0; t < 4; ++t) {
        even[4 * row + t] = c[8 * half + row][2 * t];
        odd[4 * row + t] = c[8 * half + row][2 * t + 1];
      }
    }
  }
  w.counters().tensor_macs += 16 * 8 * kDepth;
}

/// tf32: a register an element; A's parts are rows 0-7 and 8-15 of columns 0-3, then of 4-7.
void run_mma_tf32(Warp& w, const Instruction& in) {
  if (!w.gather(kAllLanes)) return;
  const uint32_t* list = w.list(in);
  const auto tf32 = [](uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFFE000); };
  std::array<std::array<float, 8>, 16> a;
  std::array<Row, 8> b;
  std::array<Row, 16> c;
  for (size_t lane = 0; lane < kWarpSize; ++lane) {
    const size_t g = lane / 4, t = lane % 4;
    for (size_t part = 0; part < 4; ++part)
      a[g + 8 * (part % 2)][t + 4 * (part / 2)] = tf32(w.lanes<uint32_t>(list[4 + part])[lane]);
    for (size_t part = 0; part < 2; ++part)
      b[t + 4 * part][g] = tf32(w.lanes<uint32_t>(list[8 + part])[lane]);
    for (size_t part = 0; part < 4; ++part)
      c[g + 8 * (part / 2)][2 * t + part % 2] = w.lanes<float>(list[10 + part])[lane];
  }
  multiply<8>(w, a, b, c);
  for (size_t lane = 0; lane < kWarpSize; ++lane) {
    for (size_t part = 0; part < 4; ++part)
      w.lanes<float>(list[part])[lane] = c[lane / 4 + 8 * (part / 2)][2 * (lane % 4) + part % 2];
  }
  w.counters().tensor_macs += 16 * 8 * 8 * 2;  // at half the rate
}

void translate_mma(Build& build) {
  build.take_any({"sync", "aligned", "row", "col"});
  const bool k16 = build.take("m16n8k16"), k8 = build.take("m16n8k8");
  if (!k16 && !k8) build.unknown("no such shape");
  std::vector<Type> types;
  while (const std::optional<Type> type = build.take_type()) types.push_back(*type);
  if (types.size() != 4 || types[0] != Type::f32 || types[3] != Type::f32 || types[1] != types[2])
    build.unknown("no such types");
  build.in.run = types[1] == Type::bf16   ? (k16 ? run_mma<Bf16Format, 16> : run_mma<Bf16Format, 8>)
                 : types[1] == Type::f16  ? (k16 ? run_mma<HalfFormat, 16> : run_mma<HalfFormat, 8>)
                 : types[1] == Type::tf32 ? (k8 ? run_mma_tf32 : nullptr)
                                          : nullptr;
  build.in.unit = Unit::tensor;
  build.result_list(0);
  build.source_list(1, Type::b32);
  build.source_list(2, Type::b32);
  build.source_list(3, Type::f32);
  const uint32_t a_and_b = types[1] == Type::tf32 ? 6 : k16 ? 6 : 3;
  if (build.in.list_size != 8 + a_and_b) build.unknown("number of registers");
}

constexpr Opcode kOpcodes[] = {
    {"ldmatrix", translate_matrix_move}, {"stmatrix", translate_matrix_move}, {"mma", translate_mma}};

}  // namespace

std::span<const Opcode> matrix_opcodes() {
  return kOpcodes;
}

}  // namespace ptx
