// Every tile function of every instruction set that this processor runs, against the same in double.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/tile_kernels.h"

namespace gca::kernels {
namespace {

std::vector<float> random_floats(int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

const float* at(const std::vector<float>& values) {
  return values.data();
}

TEST_CASE("tile product: odd sizes, both orders of a, stored and added") {
  struct Size {
    int64_t rows, columns, depth;
  };
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    for (const Size& size :
         {Size{1, 16, 1}, {5, 48, 3}, {6, 32, 64}, {17, 16, 63}, {64, 64, 64}, {63, 80, 17}}) {
      for (const bool transposed : {false, true}) {
        for (const bool add : {false, true}) {
          CAPTURE(std::string(kernels->name));
          CAPTURE(size.rows);
          CAPTURE(size.columns);
          CAPTURE(size.depth);
          const auto a = random_floats(size.rows * size.depth, 1),
                     b = random_floats(size.depth * size.columns, 2);
          const auto before = random_floats(size.rows * size.columns, 3);
          auto c = before;
          const int64_t a_row = transposed ? 1 : size.depth, a_column = transposed ? size.rows : 1;
          kernels->product(size.rows, size.columns, size.depth, at(a), a_row, a_column, at(b), size.columns,
                           c.data(), size.columns, add, nullptr);
          double worst = 0;
          for (int64_t i = 0; i < size.rows; ++i) {
            for (int64_t e = 0; e < size.columns; ++e) {
              double sum = add ? at(before)[i * size.columns + e] : 0;
              for (int64_t l = 0; l < size.depth; ++l) {
                sum += double{at(a)[i * a_row + l * a_column]} * at(b)[l * size.columns + e];
              }
              worst = std::max(worst, std::abs(sum - at(c)[i * size.columns + e]));
            }
          }
          CHECK(worst <= 2e-5);
        }
      }
    }
  }
}

TEST_CASE("tile exponential: float accuracy, exact zero for masked scores, NaN stays") {
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    constexpr int64_t rows = 4000;
    std::vector<float> x(rows * kTileColumns), shift(kTileColumns, 0.0F), sum(kTileColumns, 0.0F);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = -86.9F + 90.0F * static_cast<float>(i) / static_cast<float>(x.size());
    const auto arguments = x;
    kernels->exponential(rows, kTileColumns, x.data(), kTileColumns, 1.0F, shift.data(), sum.data());
    double worst = 0, total = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double truth = std::exp(double{arguments[i]});
      worst = std::max(worst, std::abs(x[i] - truth) / truth);
      if (i % kTileColumns == 0) total += truth;
    }
    CHECK(worst <= 2e-7);
    CHECK(sum[0] == doctest::Approx(total).epsilon(1e-4));

    std::vector<float> special(kTileColumns, 0.0F);
    special[0] = -std::numeric_limits<float>::infinity();
    special[1] = -1000.0F;
    special[2] = std::numeric_limits<float>::quiet_NaN();
    std::fill(sum.begin(), sum.end(), 0.0F);
    kernels->exponential(1, kTileColumns, special.data(), kTileColumns, 1.0F, shift.data(), sum.data());
    CHECK(special[0] == 0.0F);
    CHECK(special[1] == 0.0F);
    CHECK(std::isnan(special[2]));
    CHECK(special[3] == 1.0F);
  }
}

TEST_CASE("tile logarithm, and the softmax of one row of scores") {
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    std::vector<float> x(16000);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = std::exp(-80.0F + 160.0F * static_cast<float>(i) / static_cast<float>(x.size()));
    const auto arguments = x;
    kernels->logarithm(static_cast<int64_t>(x.size()), x.data());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double truth = std::log(double{arguments[i]});
      worst = std::max(worst, std::abs(x[i] - truth) / std::max(1.0, std::abs(truth)));
    }
    CHECK(worst <= 2e-7);

    for (const int64_t keys : {1, 5, 16, 63, 64, 513}) {
      CAPTURE(keys);
      const auto before = random_floats(keys, 31);
      auto p = before;
      float largest = 0.1F, denominator = 0.5F;
      kernels->softmax_row(keys, p.data(), 0.7F, -3.0F, 0.01F, &largest, &denominator);
      std::vector<double> scores;
      double true_largest = double{0.1F};
      for (int64_t j = 0; j < keys; ++j) {
        scores.push_back(double{at(before)[j]} * 0.7 - 3.0 + 0.01 * static_cast<double>(j));
        true_largest = std::max(true_largest, scores.back());
      }
      CHECK(largest == doctest::Approx(true_largest).epsilon(1e-6));
      double sum = 0.5;
      for (int64_t j = 0; j < keys; ++j) {
        const double truth = std::exp(scores[static_cast<size_t>(j)] - true_largest);
        CHECK(at(p)[j] == doctest::Approx(truth).epsilon(2e-6));
        sum += truth;
      }
      CHECK(denominator == doctest::Approx(sum).epsilon(1e-6));
    }
  }
}

TEST_CASE("tile scores: window, bias and maximum") {
  constexpr int64_t keys = 37, queries = 48, window = 11, first_distance = 5;
  constexpr float scale = 0.3F, slope = 0.25F;
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    const auto before = random_floats(keys * queries, 4);
    auto x = before;
    std::vector<float> plain_largest(queries, -0.1F), largest(queries, -0.2F);
    kernels->largest_score(keys, queries, x.data(), queries, scale, plain_largest.data());
    kernels->window_score(keys, queries, x.data(), queries, scale, slope, first_distance, window,
                          largest.data());
    for (int64_t i = 0; i < queries; ++i) {
      double top = -0.1F, window_top = -0.2F;
      for (int64_t j = 0; j < keys; ++j) {
        const double score = double{at(before)[j * queries + i]} * scale;
        const int64_t distance = first_distance + i - j;
        top = std::max(top, score);
        if (distance >= 0 && distance <= window) {
          const double biased = score - slope * static_cast<double>(distance);
          window_top = std::max(window_top, biased);
          CHECK(at(x)[j * queries + i] == doctest::Approx(biased).epsilon(1e-5));
        } else {
          CHECK(at(x)[j * queries + i] == kMaskedScore);
        }
      }
      CHECK(plain_largest[static_cast<size_t>(i)] == doctest::Approx(top).epsilon(1e-6));
      CHECK(largest[static_cast<size_t>(i)] == doctest::Approx(window_top).epsilon(1e-5));
    }
  }
}

TEST_CASE("tile rows and columns: scaling, products, transpose, score gradients") {
  constexpr int64_t rows = 13, columns = 32;
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    const auto x = random_floats(rows * columns, 5), y = random_floats(rows * columns, 6);
    const auto factor = random_floats(columns, 7), weight = random_floats(columns, 8);
    auto by_column = x, by_row = x, p = x, dp = y;
    std::vector<float> column_sum(columns, 0.5F), row_sum(rows), first_row_sum(rows),
        transposed(rows * columns);
    kernels->scale_columns(rows, columns, by_column.data(), columns, at(factor));
    kernels->scale_rows(rows, columns, by_row.data(), columns, at(factor));
    kernels->column_products(rows, columns, at(x), at(y), columns, column_sum.data());
    kernels->paired_row_products(rows, columns - 1, at(x), columns, at(y), columns, row_sum.data());
    kernels->row_products(rows, columns, at(y), at(x), columns, first_row_sum.data());
    auto weighted_sum = factor;
    kernels->add_weighted_rows(rows, columns - 1, at(weight), at(x), columns, weighted_sum.data());
    kernels->transpose(rows, columns, at(x), columns, transposed.data(), rows);
    kernels->score_gradient(rows, columns, p.data(), dp.data(), columns, at(factor), at(weight));

    std::vector<double> true_column_sum(columns, 0.5);
    for (int64_t i = 0; i < rows; ++i) {
      double true_row_sum = 0, true_first_row_sum = 0;
      for (int64_t e = 0; e < columns; ++e) {
        const int64_t place = i * columns + e;
        CHECK(at(by_column)[place] == at(x)[place] * at(factor)[e]);
        CHECK(at(by_row)[place] == at(x)[place] * at(factor)[i]);
        CHECK(at(transposed)[e * rows + i] == at(x)[place]);
        const double weighted = double{at(weight)[e]} * at(x)[place];
        CHECK(at(p)[place] == doctest::Approx(weighted).epsilon(1e-6));
        CHECK(std::abs(at(dp)[place] - weighted * (double{at(y)[place]} - at(factor)[e])) <= 1e-5);
        true_column_sum[static_cast<size_t>(e)] += double{at(x)[place]} * at(y)[place];
        if (e < columns - 1) true_row_sum += double{at(x)[place]} * at(y)[place];
        true_first_row_sum += double{at(x)[place]} * at(y)[e];
      }
      CHECK(std::abs(at(row_sum)[i] - true_row_sum) <= 1e-5);
      CHECK(std::abs(at(first_row_sum)[i] - true_first_row_sum) <= 1e-5);
    }
    for (int64_t e = 0; e < columns; ++e) {
      double true_weighted = at(factor)[e];
      for (int64_t i = 0; i < rows && e < columns - 1; ++i)
        true_weighted += double{at(weight)[i]} * at(x)[i * columns + e];
      CHECK(std::abs(at(weighted_sum)[e] - true_weighted) <= 1e-5);
      CHECK(std::abs(at(column_sum)[e] - true_column_sum[static_cast<size_t>(e)]) <= 1e-5);
    }
  }
}

TEST_CASE("row products with bf16 rows: any number of columns, any stride") {
  constexpr int64_t rows = 5, stride = 80;
  const auto x = random_floats(stride, 21), values = random_floats(rows * stride, 22);
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    std::vector<uint16_t> y(rows * stride);
    std::vector<float> exact_y(rows * stride);
    kernels->narrow_bf16(rows, stride, at(values), stride, y.data(), stride);
    kernels->widen_bf16(rows, stride, y.data(), stride, exact_y.data(), stride);
    for (const int64_t columns : {int64_t{1}, int64_t{7}, int64_t{16}, int64_t{33}, int64_t{79}, stride}) {
      CAPTURE(columns);
      std::vector<float> sum(rows);
      kernels->row_products_bf16(rows, columns, at(x), y.data(), stride, sum.data());
      for (int64_t i = 0; i < rows; ++i) {
        double expected = 0;
        for (int64_t e = 0; e < columns; ++e) {
          expected += double{at(x)[e]} * at(exact_y)[i * stride + e];
        }
        CHECK(std::abs(at(sum)[i] - expected) <= 1e-5);
      }
      auto weighted_sum = x;
      kernels->add_weighted_rows_bf16(rows, columns, at(values), y.data(), stride, weighted_sum.data());
      for (int64_t e = 0; e < stride; ++e) {
        double expected = at(x)[e];
        for (int64_t i = 0; i < rows && e < columns; ++i)
          expected += double{at(values)[i]} * at(exact_y)[i * stride + e];
        CHECK(std::abs(at(weighted_sum)[e] - expected) <= 1e-5);
      }
    }
  }
}

TEST_CASE(
    "row products with int8 rows: any number of columns, any stride, the same bits for rows one by one") {
  constexpr int64_t rows = 37, stride = 160;
  const auto x = random_floats(stride, 23), values = random_floats(rows * stride, 24);
  std::vector<int8_t> y;
  for (const float value : values) y.push_back(static_cast<int8_t>(std::lround(127 * value)));
  y[0] = 127;
  y[1] = -127;
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    for (const int64_t columns : {int64_t{1}, int64_t{7}, int64_t{16}, int64_t{33}, int64_t{64}, stride}) {
      CAPTURE(columns);
      std::vector<float> sum(rows), sum_of_one(rows);
      kernels->row_products_int8(rows, columns, at(x), y.data(), stride, sum.data());
      for (int64_t i = 0; i < rows; ++i) {
        double expected = 0, magnitude = 0;
        for (int64_t e = 0; e < columns; ++e) {
          const double term = double{at(x)[e]} * y[static_cast<size_t>(i * stride + e)];
          expected += term;
          magnitude += std::abs(term);
        }
        CHECK(std::abs(at(sum)[i] - expected) <= 1e-6 * magnitude);
        kernels->row_products_int8(1, columns, at(x), y.data() + i * stride, stride, sum_of_one.data() + i);
      }
      CHECK(sum == sum_of_one);
    }
  }
}

TEST_CASE("tile rows in and out: widening is exact, narrowing rounds to nearest even, padding stays") {
  for (const TileKernels* kernels : runnable_tile_kernels()) {
    CAPTURE(std::string(kernels->name));
    std::vector<uint16_t> all(65536), back(65536);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    std::vector<float> wide(65536);
    kernels->widen_bf16(1, 65535, all.data(), 65535, wide.data(),
                        65535);  // an odd count takes the remainder loop too
    kernels->narrow_bf16(1, 65535, wide.data(), 65535, back.data(), 65535);
    CHECK(wide[0x3F80] == 1.0F);
    CHECK(wide[0xC048] == -3.125F);
    for (size_t i = 0; i < 65535; ++i) {
      if (std::isnan(wide[i])) {
        CHECK((back[i] & 0x7FFFU) > 0x7F80U);
      } else if (std::abs(wide[i]) < std::numeric_limits<float>::min()) {
        CHECK((back[i] == all[i] || back[i] == (all[i] & 0x8000U)));  // the instruction makes them 0
      } else {
        CHECK(back[i] == all[i]);
      }
    }
    const std::vector<float> halfway = {1.00390625F, 1.01171875F, 1.0039065F, -1.00390625F};
    kernels->narrow_bf16(2, 2, halfway.data(), 2, back.data(), 2);
    CHECK(back[0] == 0x3F80);  // tie, to even below
    CHECK(back[1] == 0x3F82);  // tie, to even above
    CHECK(back[2] == 0x3F81);
    CHECK(back[3] == 0xBF80);
    std::vector<float> copied(2 * 24, 7.0F);  // two rows of 19 columns, 24 apart
    kernels->copy_rows(2, 19, &wide[0x3F80], 100, copied.data(), 24);
    for (size_t e = 0; e < 24; ++e) {
      CHECK(copied[e] == (e < 19 ? wide[0x3F80 + e] : 7.0F));
      CHECK(copied[24 + e] == (e < 19 ? wide[0x3F80 + 100 + e] : 7.0F));
    }
  }
}

}  // namespace
}  // namespace gca::kernels
