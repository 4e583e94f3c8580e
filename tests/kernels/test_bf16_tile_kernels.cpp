// Every bf16 tile function of every version that this processor runs, against the same in double.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/bf16_tile_kernels.h"

namespace gca::kernels {
namespace {

constexpr uint16_t kForeign = 0x7FC0;  // NaN: what must not be read or written

std::mt19937& engine() {
  static std::mt19937 one(5);
  return one;
}

std::vector<float> random_floats(int64_t count, float scale = 1.0F) {
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine());
  return values;
}

double value_of(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// A matrix of bf16 whose rows stand apart, with NaN between them.
struct Bf16Matrix {
  int64_t rows, columns, stride;
  std::vector<uint16_t> bits;

  Bf16Matrix(int64_t row_count, int64_t column_count, int64_t gap)
      : rows(row_count),
        columns(column_count),
        stride(column_count + gap),
        bits(static_cast<size_t>(row_count * (column_count + gap)), kForeign) {
    const auto values = random_floats(rows * columns);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t e = 0; e < columns; ++e) {
        uint32_t wide;
        std::memcpy(&wide, &values[static_cast<size_t>(i * columns + e)], sizeof wide);
        bits[static_cast<size_t>(i * stride + e)] = static_cast<uint16_t>(wide >> 16);
      }
    }
  }
  uint16_t at(int64_t i, int64_t e) const { return bits[static_cast<size_t>(i * stride + e)]; }
};

struct Size {
  int64_t rows, columns;
};
const Size kSizes[] = {{1, 1}, {2, 16}, {63, 64}, {64, 64}, {17, 20}, {5, 33}, {80, 96}, {31, 7}};

TEST_CASE("bf16 tiles: packing puts every element in its place and zeros where there is none") {
  for (const Bf16TileKernels* kernels : runnable_bf16_tile_kernels()) {
    for (const Size& size : kSizes) {
      for (const int64_t gap : {0, 3}) {
        CAPTURE(std::string(kernels->name));
        CAPTURE(size.rows);
        CAPTURE(size.columns);
        const Bf16Matrix from(size.rows, size.columns, gap);
        const int64_t row_pad = padded_columns(size.rows), column_pad = padded_columns(size.columns);
        std::vector<uint16_t> to(static_cast<size_t>(row_pad * column_pad), kForeign);
        const auto pack = [&](auto function, int64_t to_stride) {
          std::fill(to.begin(), to.end(), kForeign);
          function(size.rows, size.columns, from.bits.data(), from.stride, to.data(), to_stride);
        };
        const auto element = [&](int64_t i, int64_t e) {
          return i < size.rows && e < size.columns ? from.at(i, e) : uint16_t{0};
        };
        int64_t wrong = 0;
        const auto compare = [&](int64_t place, uint16_t expected) {
          wrong += to[static_cast<size_t>(place)] != expected;
        };

        pack(kernels->left_from_rows, column_pad);
        for (int64_t i = 0; i < size.rows; ++i)
          for (int64_t e = 0; e < paired_depth(size.columns); ++e) compare(i * column_pad + e, element(i, e));
        pack(kernels->left_from_columns, row_pad);
        for (int64_t e = 0; e < size.columns; ++e)
          for (int64_t i = 0; i < paired_depth(size.rows); ++i) compare(e * row_pad + i, element(i, e));
        pack(kernels->right_from_rows, column_pad);
        for (int64_t i = 0; i < paired_depth(size.rows); ++i)
          for (int64_t e = 0; e < column_pad; ++e)
            compare((i / 2 * column_pad + e) * 2 + i % 2, element(i, e));
        pack(kernels->right_from_columns, row_pad);
        for (int64_t e = 0; e < paired_depth(size.columns); ++e)
          for (int64_t i = 0; i < row_pad; ++i) compare((e / 2 * row_pad + i) * 2 + e % 2, element(i, e));
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("bf16 tiles: products, stored, added and with a factor on each column") {
  struct ProductSize {
    int64_t rows, columns, depth;
  };
  for (const Bf16TileKernels* kernels : runnable_bf16_tile_kernels()) {
    for (const ProductSize& size : {ProductSize{1, 16, 1},
                                    {5, 48, 3},
                                    {6, 32, 64},
                                    {17, 16, 63},
                                    {64, 64, 64},
                                    {63, 80, 17},
                                    {13, 112, 200},
                                    {40, 96, 10}}) {
      CAPTURE(std::string(kernels->name));
      CAPTURE(size.rows);
      CAPTURE(size.columns);
      CAPTURE(size.depth);
      const Bf16Matrix a(size.rows, size.depth, 0), b(size.depth, size.columns, 0);
      const int64_t left_stride = padded_columns(size.depth);
      std::vector<uint16_t> left(static_cast<size_t>(size.rows * left_stride), kForeign);
      std::vector<uint16_t> right(static_cast<size_t>(paired_depth(size.depth) * size.columns), kForeign);
      kernels->left_from_rows(size.rows, size.depth, a.bits.data(), a.stride, left.data(), left_stride);
      kernels->right_from_rows(size.depth, size.columns, b.bits.data(), b.stride, right.data(), size.columns);
      const auto before = random_floats(size.rows * size.columns), factor = random_floats(size.columns);
      // The depth is cut in two, at an even place, where it is long enough: segments are summed.
      const int64_t cut = size.depth > 4 ? size.depth / 4 * 2 : size.depth;
      std::vector<ProductSegment> segments = {{left.data(), left_stride, right.data(), size.columns, cut}};
      if (cut < size.depth)
        segments.push_back({left.data() + cut, left_stride, right.data() + cut * size.columns, size.columns,
                            size.depth - cut});
      enum class Way { stored, added, with_factor, rounded };
      for (const Way way : {Way::stored, Way::added, Way::with_factor, Way::rounded}) {
        CAPTURE(static_cast<int>(way));
        auto c = before;
        std::vector<uint16_t> rounded(c.size(), kForeign);
        ProductTarget target{.sums = c.data(), .stride = size.columns};
        target.add = way == Way::added;
        if (way == Way::with_factor) target.factor = factor.data();
        if (way == Way::rounded) target.rounded = rounded.data();
        kernels->product(size.rows, size.columns, segments, target);
        double worst = 0;
        for (int64_t i = 0; i < size.rows; ++i) {
          for (int64_t e = 0; e < size.columns; ++e) {
            double sum = 0;
            for (int64_t l = 0; l < size.depth; ++l) sum += value_of(a.at(i, l)) * value_of(b.at(l, e));
            const auto place = static_cast<size_t>(i * size.columns + e);
            if (way == Way::added) sum += double{before[place]};
            if (way == Way::with_factor)
              sum = double{before[place]} + double{factor[static_cast<size_t>(e)]} * sum;
            const double made = way == Way::rounded ? value_of(rounded[place]) : double{c[place]};
            const double allowed = 1e-4 + (way == Way::rounded ? std::abs(sum) / 256 : 0.0);
            worst = std::max(worst, std::abs(sum - made) / allowed);
          }
        }
        CHECK(worst <= 1);
      }
    }
  }
}

constexpr double kRounding = 1.0 / 256;  // of bf16, to nearest: half of 2^-7

TEST_CASE("bf16 tiles: probabilities as right operand, their sum and their product with gradients") {
  constexpr float scale = 0.3F;
  for (const Bf16TileKernels* kernels : runnable_bf16_tile_kernels()) {
    for (const Size& size : {Size{1, 16}, {63, 64}, {16, 48}, {7, 80}}) {
      CAPTURE(std::string(kernels->name));
      const int64_t keys = size.rows, queries = size.columns;
      auto x = random_floats(keys * queries, 10.0F);
      x[3] = kMaskedScore;
      const auto dp = random_floats(keys * queries), shift = random_floats(queries, 2.0F);
      std::vector<float> sum(static_cast<size_t>(queries), 0.5F), rebuilt_sum = sum;
      std::vector<float> product(static_cast<size_t>(queries), 0.25F);
      std::vector<uint16_t> right(static_cast<size_t>(paired_depth(keys) * queries), kForeign);
      kernels->exponential_right(keys, queries, x.data(), queries, scale, shift.data(), sum.data(),
                                 right.data());
      auto p = x;
      kernels->exponential_and_product(keys, queries, p.data(), dp.data(), queries, scale, shift.data(),
                                       rebuilt_sum.data(), product.data());
      for (int64_t i = 0; i < queries; ++i) {
        const auto column = static_cast<size_t>(i);
        double true_sum = 0.5, true_product = 0.25, magnitude = 0.25;
        for (int64_t j = 0; j < paired_depth(keys); ++j) {
          const auto place = static_cast<size_t>(j * queries + i);
          const double stored = value_of(right[static_cast<size_t>((j / 2 * queries + i) * 2 + j % 2)]);
          if (j >= keys) {
            CHECK(stored == 0);
            continue;
          }
          const double truth = std::exp(double{x[place]} * double{scale} - double{shift[column]});
          CHECK(std::abs(stored - truth) <= (kRounding + 2e-5) * truth);
          CHECK(std::abs(double{p[place]} - truth) <= 2e-5 * truth);
          true_sum += truth;
          true_product += truth * double{dp[place]};
          magnitude += truth * std::abs(double{dp[place]});
        }
        CHECK(double{sum[column]} == doctest::Approx(true_sum).epsilon(3e-5));
        CHECK(double{rebuilt_sum[column]} == doctest::Approx(true_sum).epsilon(3e-5));
        CHECK(std::abs(double{product[column]} - true_product) <= 3e-5 * magnitude);
      }
      CHECK(value_of(right[6]) == 0);  // the masked score
    }
  }
}

TEST_CASE("bf16 tiles: score gradients, given probabilities or scores of a window") {
  constexpr int64_t window = 21, first_distance = 9;
  constexpr float scale = 0.3F, slope = 0.25F;
  for (const Bf16TileKernels* kernels : runnable_bf16_tile_kernels()) {
    for (const Size& size : {Size{1, 16}, {63, 64}, {16, 48}, {5, 16}}) {
      for (const bool of_window : {false, true}) {
        CAPTURE(std::string(kernels->name));
        CAPTURE(size.rows);
        CAPTURE(of_window);
        const int64_t keys = size.rows, queries = size.columns;
        const auto x = random_floats(keys * queries), dp = random_floats(keys * queries);
        const auto shift = random_floats(queries), delta = random_floats(queries);
        const auto elements = static_cast<size_t>(padded_columns(keys) * queries);
        std::vector<uint16_t> weighted(elements, kForeign), ds(elements, kForeign), right(elements, kForeign);
        if (of_window) {
          kernels->window_score_gradient(keys, queries, x.data(), dp.data(), queries, scale, slope,
                                         first_distance, window, shift.data(), delta.data(), weighted.data(),
                                         ds.data(), right.data());
        } else {
          kernels->score_gradient(keys, queries, x.data(), dp.data(), queries, delta.data(), shift.data(),
                                  weighted.data(), ds.data(), right.data());
        }
        int64_t wrong = 0;
        for (int64_t j = 0; j < keys; ++j) {
          for (int64_t i = 0; i < queries; ++i) {
            const auto place = static_cast<size_t>(j * queries + i), column = static_cast<size_t>(i);
            double p = double{x[place]} * double{shift[column]};
            if (of_window) {
              const int64_t distance = first_distance + i - j;
              const double score =
                  double{x[place]} * double{scale} - double{slope} * static_cast<double>(distance);
              p = distance >= 0 && distance <= window ? std::exp(score - double{shift[column]}) : 0;
            }
            const double truth = p * (double{dp[place]} - double{delta[column]});
            const double as_left = value_of(ds[place]);
            const double as_right = value_of(right[static_cast<size_t>((j / 2 * queries + i) * 2 + j % 2)]);
            wrong += !(std::abs(value_of(weighted[place]) - p) <= (kRounding + 2e-5) * std::abs(p));
            wrong += !(std::abs(as_left - truth) <= (kRounding + 2e-5) * std::abs(truth) + 1e-6);
            wrong += as_right != as_left;
          }
        }
        if (keys % 2 == 1) {
          for (int64_t i = 0; i < queries; ++i)
            wrong += right[static_cast<size_t>((keys / 2 * queries + i) * 2 + 1)] != 0;
        }
        CHECK(wrong == 0);
      }
    }
  }
}

}  // namespace
}  // namespace gca::kernels
