#pragma once
// Rows of floats or bf16 walked in vectors of floats, for the instruction set that the including file is
// compiled for. Everything here has internal linkage.

#include "kernels/common/bf16_vector.h"

namespace gca::kernels {
namespace {

/// Loads and stores of `count` elements, at most kLanes; lanes beyond are 0.
inline Vector load_some(const float* from, int64_t count) {
  if (count == kLanes) return load(from);
  Vector value = {};
  for (int64_t lane = 0; lane < count; ++lane) value[lane] = from[lane];
  return value;
}
inline Vector load_some(const uint16_t* from, int64_t count) {
  if (count == kLanes) return float_of(load_shorts(from) << 16);
  Words bits = {};
  for (int64_t lane = 0; lane < count; ++lane) bits[lane] = uint32_t{from[lane]} << 16;
  return float_of(bits);
}
/// kLanes whole numbers. The compiler's own conversion takes them one by one.
inline Vector load_wide(const int8_t* from) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
  int8_t __attribute__((vector_size(kLanes))) bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, IntVector), Vector);
#endif
}
inline Vector load_some(const int8_t* from, int64_t count) {
  if (count == kLanes) return load_wide(from);
  Vector value = {};
  for (int64_t lane = 0; lane < count; ++lane) value[lane] = static_cast<float>(from[lane]);
  return value;
}
inline void store_some(float* to, int64_t count, Vector value) {
  if (count == kLanes) return store(to, value);
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = value[lane];
}
inline void store_some(uint16_t* to, int64_t count, Vector value) {
  if (count == kLanes) return RoundedRows(value, value).store_low(to);
  const Words bits = rounded_bits(value);
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = static_cast<uint16_t>(bits[lane]);
}

/// Calls `body(e, count)` for vectors of elements e to e + count; the compiler sees that count is kLanes for
/// all but the last.
template <typename Body>
inline void for_each_vector(int64_t size, Body body) {
  int64_t e = 0;
  for (; e + kLanes <= size; e += kLanes) body(e, kLanes);
  if (e < size) body(e, size - e);
}

inline Vector sigmoid(Vector x) {
  return 1.0F / (1.0F + exponential(-x));
}

}  // namespace
}  // namespace gca::kernels
