#pragma once
// Transposition of 16 x 16 words of 32 bits, in registers where these hold 16 words. Bound by the shuffle
// unit: 64 shuffles a block.

#include "kernels/common/tile_vector.h"

namespace gca::kernels {
namespace {

constexpr int64_t kTransposed = 16;  // words of a block's side

#if defined(__AVX512F__)
/// Word i of row e of `to` = word e of row[i]; the stride in bytes. The rows are used up.
inline void transpose_registers(__m512i (&row)[kTransposed], void* to_words, int64_t to_stride) {
  auto* to = static_cast<char*>(to_words);
  __m512i mixed[kTransposed];
#pragma GCC unroll 8
  for (int64_t i = 0; i < kTransposed; i += 2) {
    mixed[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    mixed[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  // Now row[i + u] holds column u of each 4 x 4 block of rows i to i + 3.
#pragma GCC unroll 4
  for (int64_t i = 0; i < kTransposed; i += 4) {
    row[i] = _mm512_unpacklo_epi64(mixed[i], mixed[i + 2]);
    row[i + 1] = _mm512_unpackhi_epi64(mixed[i], mixed[i + 2]);
    row[i + 2] = _mm512_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
    row[i + 3] = _mm512_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
  }
#pragma GCC unroll 4
  for (int64_t u = 0; u < 4; ++u) {
    const __m512i low_even = _mm512_shuffle_i32x4(row[u], row[4 + u], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(row[u], row[4 + u], 0xDD);
    const __m512i high_even = _mm512_shuffle_i32x4(row[8 + u], row[12 + u], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(row[8 + u], row[12 + u], 0xDD);
    _mm512_storeu_si512(to + u * to_stride, _mm512_shuffle_i32x4(low_even, high_even, 0x88));
    _mm512_storeu_si512(to + (4 + u) * to_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0x88));
    _mm512_storeu_si512(to + (8 + u) * to_stride, _mm512_shuffle_i32x4(low_even, high_even, 0xDD));
    _mm512_storeu_si512(to + (12 + u) * to_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD));
  }
}
#endif

/// Word i of row e of `to` = word e of row i of `from`, 16 x 16 words of any type; strides in words.
inline void transpose_words(const void* from_words, int64_t from_stride, void* to_words, int64_t to_stride) {
  const auto* from = static_cast<const char*>(from_words);
#if defined(__AVX512F__)
  __m512i row[kTransposed];
  for (int64_t i = 0; i < kTransposed; ++i) row[i] = _mm512_loadu_si512(from + 4 * i * from_stride);
  transpose_registers(row, to_words, 4 * to_stride);
#else
  auto* to = static_cast<char*>(to_words);
  for (int64_t i = 0; i < kTransposed; ++i) {
    for (int64_t e = 0; e < kTransposed; ++e)
      std::memcpy(to + 4 * (e * to_stride + i), from + 4 * (i * from_stride + e), 4);
  }
#endif
}

}  // namespace
}  // namespace gca::kernels
