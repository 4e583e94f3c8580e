#pragma once
// The widest float vector of the instruction set that the including file is compiled for, and the few
// operations on it that C++ operators do not give. Everything here has internal linkage: the same name means
// other code in another translation unit.

#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gca::kernels {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif

using Vector = float __attribute__((vector_size(kLanes * 4)));
using IntVector = int32_t __attribute__((vector_size(kLanes * 4)));
using ShortVector = uint16_t __attribute__((vector_size(kLanes * 2)));

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

inline Vector broadcast(float value) {
  return value - Vector{};  // x - 0 is x for every x, so this costs nothing; 0 + x would turn -0 into 0
}

/// a * b + c, rounded once where the instruction exists.
inline Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

/// The larger of both; b where one is not a number. Written as the instruction does it.
inline Vector larger(Vector a, Vector b) {
  return a > b ? a : b;
}

/// The smaller of both; b where one is not a number.
inline Vector smaller(Vector a, Vector b) {
  return a < b ? a : b;
}

/// 0, 1, 2, ...
inline Vector lane_numbers() {
  Vector value{};
  for (int64_t lane = 0; lane < kLanes; ++lane) value[lane] = static_cast<float>(lane);
  return value;
}

/// Halves are added to halves, so the order is that of a binary tree.
inline float lane_sum(Vector value) {
#if defined(__AVX512F__)
  __m256 halves[2];
  std::memcpy(halves, &value, sizeof halves);
  const __m256 eight = _mm256_add_ps(halves[0], halves[1]);
#elif defined(__AVX2__)
  const __m256 eight = value;
#endif
#if defined(__AVX2__)
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float lanes[kLanes];
  std::memcpy(lanes, &value, sizeof lanes);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
#endif
}

/// In each block of 2 kWidth lanes: a's halves added, then b's.
template <int64_t kWidth, int64_t... kLane>
inline Vector fold_halves(Vector a, Vector b, std::integer_sequence<int64_t, kLane...>) {
  constexpr auto kSource = [](int64_t lane, int64_t half) {
    const int64_t block = lane / (2 * kWidth) * (2 * kWidth), place = lane % (2 * kWidth);
    return place < kWidth ? block + place + half : kLanes + block + place - kWidth + half;
  };
  return __builtin_shufflevector(a, b, kSource(kLane, 0)...) +
         __builtin_shufflevector(a, b, kSource(kLane, kWidth)...);
}

template <int64_t kWidth>
inline Vector fold_vectors(Vector* values) {
  for (int64_t i = 0; i < kWidth; ++i)
    values[i] =
        fold_halves<kWidth>(values[i], values[i + kWidth], std::make_integer_sequence<int64_t, kLanes>());
  if constexpr (kWidth == 1) {
    return values[0];
  } else {
    return fold_vectors<kWidth / 2>(values);
  }
}

/// lane_sum() of kLanes vectors, with the same bits; they are overwritten.
inline Vector lane_sums(Vector (&values)[kLanes]) {
  return fold_vectors<kLanes / 2>(values);
}

inline float largest_lane(Vector value) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(value);
#else
  float top = value[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) top = value[lane] > top ? value[lane] : top;
  return top;
#endif
}

/// e^x with a relative error of about 1e-7 for -87 <= x <= 88; 0 below, the value at 88 above; NaN stays NaN.
inline Vector exponential(Vector x) {
  const Vector lowest = broadcast(-87.0F);
  const Vector clamped = smaller(broadcast(88.0F), larger(lowest, x));
  // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Vector magic = broadcast(12582912.0F);
  const Vector shifted = multiply_add(clamped, broadcast(1.44269504F), magic);
  const Vector n = shifted - magic;
  Vector r = multiply_add(n, broadcast(-0.693359375F), clamped);
  r = multiply_add(n, broadcast(2.12194440e-4F), r);
  // e^r = 1 + r + r^2 (c0 + c1 r + ... + c5 r^5), in pairs: a chain of few steps, since latency bounds this
  // function.
  const Vector square = r * r;
  const Vector high = multiply_add(r, broadcast(1.9875691500e-4F), broadcast(1.3981999507e-3F));
  const Vector middle = multiply_add(r, broadcast(8.3334519073e-3F), broadcast(4.1665795894e-2F));
  const Vector low = multiply_add(r, broadcast(1.6666665459e-1F), broadcast(5.0000001201e-1F));
  Vector polynomial = multiply_add(multiply_add(high, square, middle), square, low);
  polynomial = multiply_add(polynomial, square, r + 1.0F);
  IntVector exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent - 0x4B400000 + 127) << 23;
  Vector power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < lowest ? Vector{} : polynomial * power;
}

/// ln x with an absolute error of about 1e-7 relative to the larger of 1 and |ln x|, for positive normal x.
inline Vector logarithm(Vector x) {
  // x = 2^n m with m in [sqrt(1/2), sqrt(2)): the bits above those of sqrt(1/2) give n.
  IntVector bits;
  std::memcpy(&bits, &x, sizeof bits);
  const IntVector n = (bits - 0x3F3504F3) >> 23;
  bits -= n << 23;
  Vector m;
  std::memcpy(&m, &bits, sizeof m);
  // ln m = 2 artanh(s) with s = (m - 1) / (m + 1), |s| < 0.172: s^10 is below 1e-7.
  const Vector s = (m - 1.0F) / (m + 1.0F);
  const Vector square = s * s;
  Vector series = multiply_add(square, broadcast(2.0F / 9.0F), broadcast(2.0F / 7.0F));
  series = multiply_add(series, square, broadcast(2.0F / 5.0F));
  series = multiply_add(series, square, broadcast(2.0F / 3.0F));
  series = multiply_add(series, square, broadcast(2.0F));
  const Vector exponent = __builtin_convertvector(n, Vector);
  return multiply_add(exponent, broadcast(0.69314718F), series * s);
}

}  // namespace
}  // namespace gca::kernels
