#pragma once
// bfloat16 and half precision as bits, rounded to nearest with ties to even.

#include <bit>
#include <cmath>
#include <cstdint>

namespace ptx {

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;  // the NaN that the hardware makes
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float half_to_float(uint16_t bits) {
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = bits >> 10 & 31;
  const auto mantissa = static_cast<float>(bits & 1023);
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * INFINITY;
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

inline uint16_t float_to_half(float value) {
  const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (value != value) return 0x7FFF;
  if (magnitude >= 65520) return sign | 0x7C00;  // halfway between the largest half and the next
  // In units of the last place: of denormal numbers 2^-24, else 2^-10 of the leading bit.
  int exponent = magnitude == 0 ? -14 : std::ilogb(magnitude);
  if (exponent < -14) exponent = -14;
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  // A carry out of the mantissa runs on into the exponent, as it should.
  return static_cast<uint16_t>(sign + ((exponent + 14) << 10) + units);
}

}  // namespace ptx
