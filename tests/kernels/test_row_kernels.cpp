// Every row function of every instruction set that this processor runs, against the same in double; and AdamW
// over several tensors.
#include <ATen/ops/equal.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "kernels/common/row_kernels.h"
#include "tests/support/gradcheck.h"

namespace gca::kernels {
namespace {

constexpr int64_t kSizes[] = {1, 3, 16, 33, 64, 257};

std::vector<double> random_values(int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) {
    const float exact = normal(engine);
    uint32_t bits;
    std::memcpy(&bits, &exact, sizeof bits);
    bits &= 0xFFFF0000U;  // a bf16 number, so that all types see the same
    float rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    value = rounded;
  }
  return values;
}

template <typename Element>
std::vector<Element> as(const std::vector<double>& values) {
  std::vector<Element> result;
  for (const double value : values) {
    const auto number = static_cast<float>(value);
    if constexpr (std::is_same_v<Element, float>) {
      result.push_back(number);
    } else {
      uint32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      result.push_back(static_cast<uint16_t>(bits >> 16));
    }
  }
  return result;
}

double value_of(float number) {
  return number;
}
double value_of(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float number;
  std::memcpy(&number, &wide, sizeof number);
  return number;
}

/// Half a unit in the last place of the type, and a little for the arithmetic.
template <typename Element>
constexpr double kTolerance = std::is_same_v<Element, float> ? 4e-6 : 1.0 / 256 + 4e-6;

template <typename Element>
bool close(Element value, double truth, double magnitude = 1.0) {
  return std::abs(value_of(value) - truth) <= kTolerance<Element> * std::abs(truth) + 2e-6 * magnitude;
}

template <typename Element>
void check_norm(const RowKernels<Element>& kernels, int64_t d, bool with_update) {
  const auto x = random_values(d, 1), update = random_values(d, 2), weight = random_values(d, 3);
  const auto dy = random_values(d, 4), dsum = random_values(d, 5), before = random_values(d, 6);
  constexpr double eps = 1e-3;
  std::vector<double> sum = x;
  double squares = 0;
  for (size_t i = 0; i < sum.size(); ++i) {
    if (with_update) sum[i] += update[i];
    squares += sum[i] * sum[i];
  }
  const double inverse_rms = 1 / std::sqrt(squares / static_cast<double>(d) + eps);
  double mean = 0;
  for (size_t i = 0; i < sum.size(); ++i)
    mean += dy[i] * weight[i] * sum[i] * inverse_rms / static_cast<double>(d);

  const auto x_float = as<float>(x), weight_float = as<float>(weight), dsum_float = as<float>(dsum);
  const auto added = as<Element>(update), dy_given = as<Element>(dy);
  std::vector<float> made_sum(sum.size()), dx(sum.size());
  std::vector<Element> y(sum.size()), dupdate(sum.size());
  float rms = 0;
  kernels.add_rms_norm(d, x_float.data(), with_update ? added.data() : nullptr, weight_float.data(), eps,
                       with_update ? made_sum.data() : nullptr, y.data(), &rms);
  CHECK(rms == doctest::Approx(inverse_rms).epsilon(1e-6));
  auto dweight = as<float>(before);
  const auto sum_float = as<float>(sum);
  kernels.rms_norm_backward(d, dy_given.data(), with_update ? made_sum.data() : x_float.data(),
                            weight_float.data(), rms, with_update ? dsum_float.data() : nullptr, dx.data(),
                            with_update ? dupdate.data() : nullptr, dweight.data());
  for (size_t i = 0; i < sum.size(); ++i) {
    const double n = sum[i] * inverse_rms;
    if (with_update) CHECK(close(made_sum[i], sum[i]));
    CHECK(close(y[i], weight[i] * n));
    const double true_dx = inverse_rms * (dy[i] * weight[i] - n * mean) + (with_update ? dsum[i] : 0.0);
    CHECK(close(dx[i], true_dx, 10));
    if (with_update) CHECK(close(dupdate[i], true_dx, 10));
    CHECK(close(dweight[i], before[i] + dy[i] * n, 10));
  }
}

template <typename Element>
void check_swiglu(const RowKernels<Element>& kernels, int64_t count) {
  auto gate = random_values(count, 7);
  gate[0] = -100;  // exp(100) overflows float
  if (count > 1) gate[1] = 100;
  const auto up = random_values(count, 8), dy = random_values(count, 9);
  std::vector<Element> y(gate.size()), dgate(gate.size()), dup(gate.size());
  const auto gate_given = as<Element>(gate), up_given = as<Element>(up), dy_given = as<Element>(dy);
  kernels.swiglu(count, gate_given.data(), up_given.data(), y.data());
  kernels.swiglu_backward(count, dy_given.data(), gate_given.data(), up_given.data(), dgate.data(),
                          dup.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double s = 1 / (1 + std::exp(-gate[i]));
    CHECK(close(y[i], gate[i] * s * up[i]));
    CHECK(close(dgate[i], dy[i] * up[i] * s * (1 + gate[i] * (1 - s))));
    CHECK(close(dup[i], dy[i] * gate[i] * s));
  }
}

template <typename Element>
void check_int8(const RowKernels<Element>& kernels, int64_t d) {
  constexpr int64_t kRows = 3;
  const auto width = static_cast<size_t>(d);
  auto x = random_values(kRows * d, 14);
  for (size_t e = 0; e < width; ++e) {
    x[width + e] = 0;
    x[2 * width + e] *= 1024;
  }
  std::vector<int8_t> q(x.size() + 1, 99);
  std::vector<float> scale(kRows);
  std::vector<Element> restored(x.size());
  kernels.quantise_rows(kRows, d, as<Element>(x).data(), q.data(), scale.data());
  CHECK(q.back() == 99);
  kernels.restore_rows(kRows, d, q.data(), scale.data(), restored.data());
  for (size_t row = 0; row < kRows; ++row) {
    double largest = 0;
    for (size_t e = 0; e < width; ++e) largest = std::max(largest, std::abs(x[row * width + e]));
    CHECK(scale[row] == static_cast<float>(largest) / 127.0F);
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      CHECK(std::abs(double{scale[row]} * q[i] - x[i]) <= 0.5001 * scale[row]);
      CHECK(close(restored[i], double{scale[row]} * q[i]));
    }
  }
}

TEST_CASE("rows: int8 with one scale per row, from float32 and bf16 and back") {
  for (const RowKernelSet* kernels : runnable_row_kernels()) {
    CAPTURE(std::string(kernels->name));
    for (const int64_t size : kSizes) {
      CAPTURE(size);
      check_int8(kernels->of_float, size);
      check_int8(kernels->of_bf16, size);
    }
  }
}

TEST_CASE("rows: norm with and without a sum before it, and SwiGLU, in float32 and bf16") {
  for (const RowKernelSet* kernels : runnable_row_kernels()) {
    CAPTURE(std::string(kernels->name));
    for (const int64_t size : kSizes) {
      CAPTURE(size);
      for (const bool with_update : {false, true}) {
        CAPTURE(with_update);
        check_norm(kernels->of_float, size, with_update);
        check_norm(kernels->of_bf16, size, with_update);
      }
      check_swiglu(kernels->of_float, size);
      check_swiglu(kernels->of_bf16, size);
    }
  }
}

TEST_CASE("rows: AdamW, its bf16 copy, and sums of squares") {
  const AdamWCoefficients c{0.5F, 0.9F, 0.95F, 0.02F, 3.0F, 1e-6F, 1e-3F};
  for (const RowKernelSet* kernels : runnable_row_kernels()) {
    CAPTURE(std::string(kernels->name));
    for (const int64_t size : kSizes) {
      const auto g = random_values(size, 10), w = random_values(size, 11), m = random_values(size, 12);
      auto v = random_values(size, 13);
      for (double& value : v) value = std::abs(value);
      auto weight = as<float>(w), first = as<float>(m), second = as<float>(v);
      std::vector<uint16_t> copy(weight.size());
      const auto gradient = as<float>(g);
      kernels->update.adamw(size, c, gradient.data(), weight.data(), first.data(), second.data(),
                            copy.data());
      double squares = 0;
      for (size_t i = 0; i < g.size(); ++i) {
        const double scaled = 0.5 * g[i];
        const double new_m = double{c.beta1} * m[i] + (1 - double{c.beta1}) * scaled;
        const double new_v = double{c.beta2} * v[i] + (1 - double{c.beta2}) * scaled * scaled;
        const double truth = w[i] - 0.02 * new_m / (std::sqrt(3 * new_v) + 1e-6) - 1e-3 * w[i];
        CHECK(close(first[i], new_m));
        CHECK(close(second[i], new_v));
        CHECK(close(weight[i], truth));
        CHECK(std::abs(value_of(copy[i]) - double{weight[i]}) <= std::abs(double{weight[i]}) / 256);
        squares += g[i] * g[i];
      }
      CHECK(kernels->update.sum_of_squares(size, gradient.data()) == doctest::Approx(squares).epsilon(1e-12));
      const std::vector<float> huge(static_cast<size_t>(size), 1e30F);  // its square is not a float
      CHECK(kernels->update.sum_of_squares(size, huge.data()) ==
            doctest::Approx(1e60 * static_cast<double>(size)).epsilon(1e-6));
    }
  }
}

TEST_CASE("AdamW over tensors of several sizes equals AdamW over each alone, copies included") {
  std::vector<AdamWUpdate> together;
  std::vector<AdamWUpdate> alone;
  for (const int64_t size : {1, 100, 70000}) {
    const auto tensor = [&](double phase) {
      return testing::some_numbers({size}, 1.0, phase).to(at::kFloat);
    };
    for (auto* list : {&together, &alone})
      list->push_back({tensor(0.1), tensor(0.2), tensor(0.3), tensor(0.4).abs(),
                       tensor(0.5).to(at::kBFloat16), 0.01 * static_cast<double>(size % 7 + 1)});
  }
  const AdamWSettings settings{.step = 3, .gradient_scale = 0.7};
  adamw_step(together, settings);
  for (const AdamWUpdate& update : alone) adamw_step({&update, 1}, settings);
  for (size_t i = 0; i < together.size(); ++i) {
    CHECK(at::equal(together[i].weight, alone[i].weight));
    CHECK(at::equal(together[i].second_moment, alone[i].second_moment));
    CHECK(at::equal(together[i].copy, together[i].weight.to(at::kBFloat16)));
  }
}

}  // namespace
}  // namespace gca::kernels
