#pragma once
// The special functions of the hardware (ex2.approx and others), as close as a float allows, in plain
// arithmetic that the compiler turns into vectors. In adversary mode a result is moved by up to 2 units in
// the last place, as its documented error allows; the direction depends on the bits of the result alone, so a
// run can be repeated.

#include <bit>
#include <cmath>
#include <cstdint>

namespace ptx {

/// 2^x to about 1 ulp; the series of e^(f ln 2) to degree 7 on [-0.5, 0.5].
inline float exp2_approximate(float x) {
  const float clamped = std::fmin(std::fmax(x, -150.0F), 129.0F);
  const float whole = std::nearbyint(clamped);
  const float f = clamped - whole;
  float p = 1.5252734e-5F;
  p = p * f + 1.5403530e-4F;
  p = p * f + 1.3333558e-3F;
  p = p * f + 9.6181291e-3F;
  p = p * f + 5.5504109e-2F;
  p = p * f + 2.4022651e-1F;
  p = p * f + 6.9314718e-1F;
  p = p * f + 1.0F;
  // Two factors, as 2^whole alone may leave the range of a float's exponent.
  const auto n = static_cast<int32_t>(whole);
  const int32_t half = n >> 1;
  const auto low = std::bit_cast<float>((half + 127) << 23);
  const auto high = std::bit_cast<float>((n - half + 127) << 23);
  const float result = p * low * high;
  return x != x ? x : result;  // fmin and fmax lose a NaN
}

inline float perturbed(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7F800000) == 0x7F800000 || (bits & 0x7F800000) == 0 || (bits & 0x007FFFFC) == 0) return value;
  const uint32_t hash = (bits * 2654435761U) >> 16;
  return std::bit_cast<float>(bits + hash % 5 - 2);
}

}  // namespace ptx
