#pragma once
// bfloat16 and comparisons for the kernels' tests.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::testing {

inline cuda::Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {0x7FFF};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
inline float to_float(cuda::Bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
inline float to_float(float value) {
  return value;
}
inline double rounded_to_bf16(double value) {
  return to_float(to_bf16(static_cast<float>(value)));
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Numbers between -1 and 1 with a standard deviation near 0.6, a pure function of seed and place.
class RandomNumbers {
 public:
  explicit RandomNumbers(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 1) {}
  uint32_t bits() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<uint32_t>(state_ >> 32);
  }
  double uniform() { return (bits() + 0.5) / 4294967296.0; }
  float symmetric(float scale = 1) { return scale * static_cast<float>(2 * uniform() - 1); }
  int64_t below(int64_t limit) { return static_cast<int64_t>(uniform() * static_cast<double>(limit)); }
  /// Approximately normal: a sum of uniform numbers.
  float normal(float scale = 1) {
    double sum = 0;
    for (int i = 0; i < 6; ++i) sum += uniform() - 0.5;
    return scale * static_cast<float>(sum * 1.4142135);
  }

 private:
  uint64_t state_;
};

/// Largest difference; NaN when either has one.
inline double largest_difference(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::quiet_NaN();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;
    if (worst != worst) return worst;
  }
  return worst;
}

inline double largest_magnitude(std::span<const double> a) {
  double largest = 0;
  for (const double x : a) largest = std::fmax(largest, std::fabs(x));
  return largest;
}

/// The bound of a kernel's error: `factor` times what a plain bfloat16 version makes, and no less than a
/// rounding of the result (or of float sums of numbers near 1, where the result is 0).
inline double error_bound(std::span<const double> truth, std::span<const double> plain, double factor) {
  return factor * largest_difference(truth, plain) + largest_magnitude(truth) * 0x1p-9 + 1e-5;
}

}  // namespace gca::testing
