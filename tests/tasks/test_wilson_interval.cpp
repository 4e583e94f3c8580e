#include "lib/tasks/wilson_interval.h"

#include <doctest/doctest.h>

#include <initializer_list>

using namespace gca;

// The interval holds exactly the p with (p - x/n)^2 <= z^2 p (1 - p) / n.
TEST_CASE("The ends of the interval solve Wilson's equation") {
  for (const int64_t trials : {1, 7, 200, 100000})
    for (const double share : {0.0, 0.1, 0.5, 0.97, 1.0}) {
      const auto successes = static_cast<int64_t>(share * static_cast<double>(trials));
      const tasks::WilsonInterval interval = tasks::wilson_interval(successes, trials);
      const double p = static_cast<double>(successes) / static_cast<double>(trials);
      for (const double end : {interval.low, interval.high}) {
        const double n = static_cast<double>(trials);
        CHECK(std::abs((end - p) * (end - p) - 3.841458820694124 * end * (1 - end) / n) <= 1e-12);
      }
      CHECK(interval.low <= p + 1e-15);
      CHECK(interval.high >= p - 1e-15);
    }
  // Figures of a published table: 81 of 263 gives 0.255 to 0.366.
  CHECK(tasks::wilson_interval(81, 263).low == doctest::Approx(0.2553).epsilon(1e-3));
  CHECK(tasks::wilson_interval(81, 263).high == doctest::Approx(0.3662).epsilon(1e-3));
  CHECK(tasks::wilson_interval(0, 0).high == 1.0);
}
