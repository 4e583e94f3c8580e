#pragma once
// How far a share of successes can be trusted (E. B. Wilson, "Probable Inference, the Law of Succession, and
// Statistical Inference", 1927).

#include <cmath>
#include <cstdint>

namespace gca::tasks {

struct WilsonInterval {
  double low = 0.0;
  double high = 1.0;
};

/// The 95 % interval of `successes` out of `trials`; all of [0, 1] without trials.
inline WilsonInterval wilson_interval(int64_t successes, int64_t trials) {
  if (trials <= 0) return {};
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double middle = p + z * z / (2 * n);
  const double reach = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  // Rounding must not put p outside.
  return {std::fmax(0.0, std::fmin(p, (middle - reach) / scale)),
          std::fmin(1.0, std::fmax(p, (middle + reach) / scale))};
}

}  // namespace gca::tasks
