#include "lib/generate/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/common/philox.h"
#include "lib/core/error.h"

using namespace gca;

namespace {

/// The distribution by its definition: softmax, the top k of it, the top p of what is left, each normalised.
std::vector<double> plain_distribution(const std::vector<float>& logits, const std::vector<uint8_t>& allowed,
                                       const generate::SamplingOptions& options) {
  std::vector<size_t> order;
  for (size_t id = 0; id < logits.size(); ++id)
    if (allowed.empty() || allowed[id]) order.push_back(id);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size())
    order.resize(static_cast<size_t>(options.top_k));
  std::vector<double> p(logits.size(), 0.0);
  double total = 0;
  for (const size_t id : order) total += p[id] = std::exp(logits[id] / options.temperature);
  for (double& value : p) value /= total;
  double before = 0;
  double kept = 0;
  for (const size_t id : order) {
    const double own = p[id];
    if (before >= options.top_p) p[id] = 0;
    kept += p[id];
    before += own;
  }
  for (double& value : p) value /= kept;
  return p;
}

std::vector<float> some_logits(size_t count) {
  std::vector<float> logits(count);
  for (size_t i = 0; i < count; ++i)
    logits[i] = static_cast<float>(3 * std::sin(7.3 * static_cast<double>(i)));
  logits[4] = logits[1];  // a tie
  return logits;
}

}  // namespace

TEST_CASE("over evenly spaced numbers each id is drawn as often as its probability says") {
  constexpr int kNumbers = 20000;
  const std::vector<float> logits = some_logits(23);
  std::vector<uint8_t> allowed(logits.size(), 1);
  allowed[2] = allowed[9] = 0;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    for (const int64_t top_k : {0, 1, 2, 7, 100}) {
      for (const double top_p : {1.0, 0.9, 0.5, 1e-9}) {
        CAPTURE(temperature);
        CAPTURE(top_k);
        CAPTURE(top_p);
        const generate::SamplingOptions options{temperature, top_k, top_p};
        const std::vector<double> expected = plain_distribution(logits, allowed, options);
        std::vector<int> drawn(logits.size(), 0);
        for (int i = 0; i < kNumbers; ++i)
          ++drawn[static_cast<size_t>(
              generate::sample_token(logits, allowed, options, (i + 0.5) / kNumbers))];
        for (size_t id = 0; id < logits.size(); ++id) {
          CAPTURE(id);
          CHECK(std::abs(drawn[id] - expected[id] * kNumbers) <= 1.001);
          if (expected[id] == 0) CHECK(drawn[id] == 0);
        }
      }
    }
  }
}

TEST_CASE("the frequencies of random draws pass a chi-square test") {
  constexpr int kDraws = 50000;
  const std::vector<float> logits = some_logits(12);
  const generate::SamplingOptions options{1.5, 0, 1.0};
  const std::vector<double> expected = plain_distribution(logits, {}, options);
  std::vector<int> drawn(logits.size(), 0);
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double uniform = open_unit_double(philox_block(11, RandomStream::sampling, 0, i));
    ++drawn[static_cast<size_t>(generate::sample_token(logits, {}, options, uniform))];
  }
  double chi_square = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double mean = expected[id] * kDraws;
    chi_square += (drawn[id] - mean) * (drawn[id] - mean) / mean;
  }
  CHECK(chi_square < 31.26);  // 11 degrees of freedom, one in a thousand above
  CHECK(chi_square > 1.5);    // and one in a thousand below: draws are random, not evenly spread
}

TEST_CASE("temperature 0 takes the most probable allowed id, the lower one of equals") {
  const std::vector<float> logits = {1, 5, 3, 5, 9};
  const generate::SamplingOptions greedy{0.0, 0, 1.0};
  for (const double uniform : {1e-9, 0.5, 1 - 1e-9}) {
    CHECK(generate::sample_token(logits, {}, greedy, uniform) == 4);
    CHECK(generate::sample_token(logits, std::vector<uint8_t>{1, 1, 1, 1, 0}, greedy, uniform) == 1);
  }
}

TEST_CASE("extreme logits") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(generate::sample_token(std::vector<float>{-1e30F, 3e38F, 0}, {}, {1.0, 0, 1.0}, 0.7) == 1);
  CHECK(generate::sample_token(std::vector<float>{-infinity, -2, -infinity}, {}, {1.0, 0, 1.0}, 0.999) == 1);
  const std::vector<float> with_nan = {0, std::numeric_limits<float>::quiet_NaN()};
  CHECK_THROWS_AS(generate::sample_token(with_nan, {}, {}, 0.5), Error);
  CHECK(generate::sample_token(with_nan, std::vector<uint8_t>{1, 0}, {}, 0.5) == 0);
  CHECK_THROWS_AS(generate::sample_token(std::vector<float>{1, 2}, std::vector<uint8_t>{0, 0}, {}, 0.5),
                  Error);
}
