#pragma once
// Vectors of bf16 pairs ("words": two bf16 in 32 bits, the lower depth in the lower half) beside the float
// vectors of tile_vector.h, for the instruction set that the including file is compiled for. Everything here
// has internal linkage.

#include "kernels/common/tile_vector.h"

namespace gca::kernels {
namespace {

#if defined(__AVX512BF16__)
constexpr bool kMultipliesBf16 = true;
#else
constexpr bool kMultipliesBf16 = false;
#endif

using Words = uint32_t __attribute__((vector_size(kLanes * 4)));

inline Words load_words(const void* from) {
  Words value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store_words(void* to, Words value) {
  std::memcpy(to, &value, sizeof value);
}

inline Words broadcast_word(const uint16_t* pair) {
  uint32_t word;
  std::memcpy(&word, pair, sizeof word);
  return word - Words{};
}

inline Words bits_of(Vector value) {
  Words bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline Vector float_of(Words bits) {
  Vector value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// sum + a_0 b_0 + a_1 b_1 in every lane.
inline Vector multiply_add_pairs(Vector sum, Words a, Words b) {
#if defined(__AVX512BF16__)
  __m512bh left, right;
  std::memcpy(&left, &a, sizeof left);
  std::memcpy(&right, &b, sizeof right);
  return _mm512_dpbf16_ps(sum, left, right);
#else
  const Words high = ~Words{} << 16;
  sum = multiply_add(float_of(a << 16), float_of(b << 16), sum);
  return multiply_add(float_of(a & high), float_of(b & high), sum);
#endif
}

/// The bf16 nearest to each float, ties to even, in the lower half of its lane; NaN stays NaN.
inline Words rounded_bits(Vector value) {
  const Words bits = bits_of(value);
  const Words rounded = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;
  return (bits & 0x7FFFFFFFU) > 0x7F800000U ? Words{} + 0x7FC0U : rounded;
}

/// One number, rounded likewise.
inline uint16_t rounded_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<uint16_t>(is_nan ? 0x7FC0U : (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

/// Two rows of floats, rounded: as words (low row in the lower halves) and as two rows of bf16.
struct RoundedRows {
#if defined(__AVX512BF16__)
  __m512i halves;  // the low row, then the high one

  RoundedRows(Vector low, Vector high) {
    const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    std::memcpy(&halves, &both, sizeof halves);
  }
  Words words() const {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i mixed = _mm512_permutexvar_epi16(order, halves);
    Words value;
    std::memcpy(&value, &mixed, sizeof value);
    return value;
  }
  /// The high row behind the low one.
  void store_both(uint16_t* to) const {
    std::memcpy(to, &halves, sizeof halves);
  }
  void store_low(uint16_t* to) const {
    std::memcpy(to, &halves, 32);
  }
  void store_high(uint16_t* to) const {
    const __m256i high = _mm512_extracti64x4_epi64(halves, 1);
    std::memcpy(to, &high, sizeof high);
  }
#else
  Words low, high;

  RoundedRows(Vector low_row, Vector high_row) : low(rounded_bits(low_row)), high(rounded_bits(high_row)) {}
  Words words() const {
    return low | high << 16;
  }
  static void store(Words row, uint16_t* to) {
    const ShortVector shorts = __builtin_convertvector(row, ShortVector);
    std::memcpy(to, &shorts, sizeof shorts);
  }
  void store_both(uint16_t* to) const {
    store(low, to);
    store(high, to + kLanes);
  }
  void store_low(uint16_t* to) const {
    store(low, to);
  }
  void store_high(uint16_t* to) const {
    store(high, to);
  }
#endif
};

/// kLanes bf16 of one row, zero-extended.
inline Words load_shorts(const uint16_t* from) {
#if defined(__AVX512F__)  // GCC 12 takes the conversion below apart
  __m256i narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  const __m512i wide = _mm512_cvtepu16_epi32(narrow);
  return load_words(&wide);
#else
  ShortVector shorts;
  std::memcpy(&shorts, from, sizeof shorts);
  return __builtin_convertvector(shorts, Words);
#endif
}

/// 2^x with a relative error of about 3e-6, for finite x <= 127; 0 far below -126. What is rounded to bf16
/// afterwards needs no more.
inline Vector power_of_two(Vector x) {
#if defined(__AVX512F__)
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vector f = x - n;
  Vector p = multiply_add(f, broadcast(0.00958285F), broadcast(0.05590643F));
  p = multiply_add(p, f, broadcast(0.24024099F));
  p = multiply_add(p, f, broadcast(0.69312419F));
  p = multiply_add(p, f, broadcast(1.0F));
  return _mm512_scalef_ps(p, n);
#else
  return exponential(x * 0.69314718F);
#endif
}

}  // namespace
}  // namespace gca::kernels
