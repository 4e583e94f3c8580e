#pragma once
// The eight tile registers of Intel AMX, in two versions with the same functions: the processor's own, and
// plain loops over the same state, so that every machine can test the kernels that use them.
//
//   configure      sets the rows of each register and the bytes of a row; clears all registers
//   load, store    moves the rows of a register from or to memory, `stride_bytes` apart
//   multiply_add   TDPBF16PS, c += a b: a has the rows of c; row l of b holds pair l of the depth for each
//   column of c
//
// TDPBF16PS (Intel SDM, volume 2) sums the first elements of the pairs over the depth, and the second ones
// apart from them, adds both sums, and adds that to c. Each step rounds to nearest even; subnormal numbers
// count as zero.
//
// Registers are template arguments because the instructions hold their numbers.

#include <cstdint>
#include <cstring>

namespace gca::kernels {
namespace {

constexpr int64_t kTileRows = 16;      // of a register, at most
constexpr int64_t kTileRowBytes = 64;  // likewise
constexpr int64_t kTileDepth = 32;     // bf16 elements of a row
constexpr int64_t kTileWords = 16;     // floats, or pairs of bf16, of a row
constexpr int kTileRegisterCount = 8;

/// The operand of LDTILECFG.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfiguration) == 64);

#if defined(GCA_EMULATES_TILE_REGISTERS)

struct TileRegisters {
  static void configure(const TileConfiguration& configuration) {
    state().shape = configuration;
    std::memset(state().bytes, 0, sizeof state().bytes);
  }
  static void release() { configure({}); }
  template <int kTile>
  static void clear() {
    std::memset(state().bytes[kTile], 0, sizeof state().bytes[kTile]);
  }
  template <int kTile>
  static void load(const void* from, int64_t stride_bytes) {
    clear<kTile>();
    for (int64_t i = 0; i < rows(kTile); ++i)
      std::memcpy(state().bytes[kTile][i], static_cast<const char*>(from) + i * stride_bytes,
                  row_bytes(kTile));
  }
  template <int kTile>
  static void store(void* to, int64_t stride_bytes) {
    for (int64_t i = 0; i < rows(kTile); ++i)
      std::memcpy(static_cast<char*>(to) + i * stride_bytes, state().bytes[kTile][i], row_bytes(kTile));
  }
  template <int kSum, int kLeft, int kRight>
  static void multiply_add() {
    // What the processor answers with an invalid-opcode fault.
    if (rows(kLeft) != rows(kSum) || row_bytes(kLeft) != static_cast<size_t>(rows(kRight)) * 4 ||
        row_bytes(kRight) != row_bytes(kSum) || rows(kSum) == 0)
      __builtin_trap();
    const auto columns = static_cast<int64_t>(row_bytes(kSum) / 4);
    for (int64_t i = 0; i < rows(kSum); ++i) {
      float even[kTileWords] = {}, odd[kTileWords] = {}, sum[kTileWords];
      uint32_t left[kTileWords], right[kTileWords];
      std::memcpy(left, state().bytes[kLeft][i], sizeof left);
      std::memcpy(sum, state().bytes[kSum][i], sizeof sum);
      for (int64_t l = 0; l < rows(kRight); ++l) {
        std::memcpy(right, state().bytes[kRight][l], sizeof right);
        for (int64_t e = 0; e < columns; ++e) {
          even[e] = fused(float_of(left[l] << 16), float_of(right[e] << 16), even[e]);
          odd[e] = fused(float_of(left[l] & 0xFFFF0000U), float_of(right[e] & 0xFFFF0000U), odd[e]);
        }
      }
      for (int64_t e = 0; e < columns; ++e) sum[e] = flushed(flushed(sum[e]) + flushed(even[e] + odd[e]));
      std::memcpy(state().bytes[kSum][i], sum, sizeof sum);
    }
  }

 private:
  struct State {
    TileConfiguration shape;
    alignas(64) uint8_t bytes[kTileRegisterCount][kTileRows][kTileRowBytes];
  };
  static State& state() {
    thread_local State one{};
    return one;
  }
  static int64_t rows(int tile) { return state().shape.rows[tile]; }
  static size_t row_bytes(int tile) { return state().shape.row_bytes[tile]; }
  static float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return flushed(value);
  }
  /// Subnormal numbers become zero, with their sign.
  static float flushed(float value) {
    return __builtin_fabsf(value) < 0x1p-126F ? __builtin_copysignf(0.0F, value) : value;
  }
  /// a b is exact in double, as is the sum for all but far exponents.
  static float fused(float a, float b, float c) {
    return flushed(
        static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c)));
  }
};

#else

struct TileRegisters {
  static void configure(const TileConfiguration& configuration) {
    asm volatile("ldtilecfg %0" : : "m"(configuration));
  }
  static void release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void clear() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride_bytes) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(from), "r"(stride_bytes) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride_bytes) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(to), "r"(stride_bytes) : "memory");
  }
  template <int kSum, int kLeft, int kRight>
  static void multiply_add() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
  }
};

#endif

}  // namespace
}  // namespace gca::kernels
