// The products of one instruction set, compiled once for each like tile_kernels.cpp.
#include "kernels/common/int8_products.h"

#include <algorithm>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gca::kernels {
namespace {

constexpr int64_t kGroupBytes = kInt8Run * kInt8Group;

#if !defined(__AVX512VNNI__)
uint64_t bits_above(int32_t limit, const int32_t* products) {
  uint64_t bits = 0;
  for (int64_t i = 0; i < kInt8Run; ++i) bits |= uint64_t{products[i] > limit} << i;
  return bits;
}
#endif

#if defined(__AVX512VNNI__)

uint64_t multiply(int64_t groups, const uint8_t* x, const int8_t* y, int32_t limit, int32_t* products) {
  __m512i sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  for (int64_t g = 0; g < groups; ++g, x += kGroupBytes) {
    int32_t bytes;
    std::memcpy(&bytes, y + g * kInt8Group, sizeof bytes);
    const __m512i four = _mm512_set1_epi32(bytes);
    sum0 = _mm512_dpbusd_epi32(sum0, _mm512_loadu_si512(x), four);
    sum1 = _mm512_dpbusd_epi32(sum1, _mm512_loadu_si512(x + 64), four);
    sum2 = _mm512_dpbusd_epi32(sum2, _mm512_loadu_si512(x + 128), four);
    sum3 = _mm512_dpbusd_epi32(sum3, _mm512_loadu_si512(x + 192), four);
  }
  _mm512_storeu_si512(products, sum0);
  _mm512_storeu_si512(products + 16, sum1);
  _mm512_storeu_si512(products + 32, sum2);
  _mm512_storeu_si512(products + 48, sum3);
  const __m512i least = _mm512_set1_epi32(limit);
  const auto above = [&](__m512i sum) { return uint64_t{_mm512_cmpgt_epi32_mask(sum, least)}; };
  return above(sum0) | above(sum1) << 16 | above(sum2) << 32 | above(sum3) << 48;
}

#elif defined(__AVX2__)

/// Bytes 0 and 2 of each group, then 1 and 3, are widened to 16 bits: products of bytes as such saturate.
uint64_t multiply(int64_t groups, const uint8_t* x, const int8_t* y, int32_t limit, int32_t* products) {
  constexpr int64_t kVectors = 8;
  const __m256i low_bytes = _mm256_set1_epi16(0xFF);
  __m256i sums[kVectors] = {};
  for (int64_t g = 0; g < groups; ++g) {
    const int8_t* four = y + g * kInt8Group;
    const auto pair = [](int8_t first, int8_t second) {
      return _mm256_set1_epi32(static_cast<int32_t>(static_cast<uint16_t>(first)) | (int32_t{second} << 16));
    };
    const __m256i even = pair(four[0], four[2]), odd = pair(four[1], four[3]);
    for (int64_t v = 0; v < kVectors; ++v) {
      __m256i bytes;
      std::memcpy(&bytes, x + g * kGroupBytes + v * 32, sizeof bytes);
      sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(_mm256_and_si256(bytes, low_bytes), even));
      sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(_mm256_srli_epi16(bytes, 8), odd));
    }
  }
  std::memcpy(products, sums, sizeof sums);
  return bits_above(limit, products);
}

#else

uint64_t multiply(int64_t groups, const uint8_t* x, const int8_t* y, int32_t limit, int32_t* products) {
  std::fill_n(products, kInt8Run, 0);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = 0; i < kInt8Run; ++i)
      for (int64_t j = 0; j < kInt8Group; ++j)
        products[i] += int32_t{x[g * kGroupBytes + i * kInt8Group + j]} * int32_t{y[g * kInt8Group + j]};
  return bits_above(limit, products);
}

#endif

}  // namespace

namespace GCA_ISA {

#define GCA_ISA_NAME_OF(isa) #isa
#define GCA_ISA_NAME(isa) GCA_ISA_NAME_OF(isa)

extern const Int8Products kInt8Products;
const Int8Products kInt8Products = {GCA_ISA_NAME(GCA_ISA), multiply};

}  // namespace GCA_ISA
}  // namespace gca::kernels
