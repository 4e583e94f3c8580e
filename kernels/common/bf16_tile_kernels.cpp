// The bf16 tile functions of one instruction set, compiled once for each like tile_kernels.cpp. The product
// is one of two (pair_product.h, tile_register_product.h). Everything else is a pass over a tile that lies in
// the first-level cache.
#include "kernels/common/bf16_tile_kernels.h"

#include "kernels/common/bf16_rows.h"
#include "kernels/common/tile_transpose.h"
#if defined(__AMX_BF16__) || defined(GCA_EMULATES_TILE_REGISTERS)
#include "kernels/common/tile_register_product.h"
#else
#include "kernels/common/pair_product.h"
#endif

namespace gca::kernels {
namespace {

constexpr float kLog2E = 1.44269504F;

/// The words of two rows of `columns` bf16, at most kTransposed; the rest, and a row that is null, are zero.
inline void interleave_block(int64_t columns, const uint16_t* low, const uint16_t* high, void* to) {
  auto* words = static_cast<char*>(to);
  if (columns >= kTransposed && high != nullptr) {
    for (int64_t e = 0; e < kTransposed; e += kLanes)
      store_words(words + 4 * e, load_shorts(low + e) | load_shorts(high + e) << 16);
    return;
  }
  for (int64_t e = 0; e < kTransposed; ++e) {
    const uint32_t low_bits = e < columns ? low[e] : 0U;
    const uint32_t high_bits = e < columns && high != nullptr ? high[e] : 0U;
    const uint32_t word = low_bits | high_bits << 16;
    std::memcpy(words + 4 * e, &word, sizeof word);
  }
}

void left_from_rows(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, uint16_t* to,
                    int64_t to_stride) {
  constexpr int64_t kElements = 2 * kLanes;
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + kElements <= columns; e += kElements) store_words(to + e, load_words(from + e));
    for (; e < columns; ++e) to[e] = from[e];
    if (columns % 2 == 1) to[columns] = 0;
  }
}

/// 16 columns of `pair_count` pairs of rows, turned: word l of row e of `to` is pair l of column e.
inline void turn_pairs(int64_t pair_count, const uint16_t* from, int64_t from_stride, uint16_t* to,
                       int64_t to_stride) {
#if defined(__AVX512BF16__)
  if (pair_count == kTransposed) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i words[kTransposed];
#pragma GCC unroll 16
    for (int64_t l = 0; l < kTransposed; ++l) {
      const uint16_t* low = from + 2 * l * from_stride;
      const __m256i high_half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low + from_stride));
      const __m512i low_half =
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
      const __m512i both = _mm512_inserti64x4(low_half, high_half, 1);
      words[l] = _mm512_permutexvar_epi16(order, both);
    }
    transpose_registers(words, to, 2 * to_stride);
    return;
  }
#endif
  uint32_t words[kTransposed * kTransposed] = {}, turned[kTransposed * kTransposed];
  for (int64_t l = 0; l < pair_count; ++l) {
    interleave_block(kTransposed, from + 2 * l * from_stride, from + (2 * l + 1) * from_stride,
                     words + l * kTransposed);
  }
  transpose_words(words, kTransposed, turned, kTransposed);
  for (int64_t u = 0; u < kTransposed; ++u)
    std::memcpy(to + u * to_stride, turned + u * kTransposed, static_cast<size_t>(pair_count) * 4);
}

void left_from_columns(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, uint16_t* to,
                       int64_t to_stride) {
  const int64_t whole_columns = columns / kTransposed * kTransposed;
  for (int64_t row = 0; row + 1 < rows; row += 2 * kTransposed) {
    const int64_t pair_count = (rows - row) / 2 < kTransposed ? (rows - row) / 2 : kTransposed;
    for (int64_t e = 0; e < whole_columns; e += kTransposed)
      turn_pairs(pair_count, from + row * from_stride + e, from_stride, to + e * to_stride + row, to_stride);
    for (int64_t e = whole_columns; e < columns; ++e) {
      for (int64_t u = 0; u < 2 * pair_count; ++u)
        to[e * to_stride + row + u] = from[(row + u) * from_stride + e];
    }
  }
  if (rows % 2 == 1) {
    for (int64_t e = 0; e < columns; ++e) {
      to[e * to_stride + rows - 1] = from[(rows - 1) * from_stride + e];
      to[e * to_stride + rows] = 0;
    }
  }
}

/// Words of two rows of 32 columns.
inline void interleave_whole(const uint16_t* low, const uint16_t* high, uint16_t* to) {
#if defined(__AVX512BF16__)
  const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                         38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  const __m512i low_row = _mm512_loadu_si512(low), high_row = _mm512_loadu_si512(high);
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(low_row, first, high_row));
  _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(low_row, second, high_row));
#else
  interleave_block(kTransposed, low, high, to);
  interleave_block(kTransposed, low + kTransposed, high + kTransposed, to + 2 * kTransposed);
#endif
}

void right_from_rows(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, uint16_t* to,
                     int64_t to_stride) {
  for (int64_t row = 0; row < rows; row += 2, to += 2 * to_stride) {
    const uint16_t* low = from + row * from_stride;
    const uint16_t* high = row + 1 < rows ? low + from_stride : nullptr;
    int64_t e = 0;
    if (high != nullptr) {
      for (; e + 2 * kTransposed <= columns; e += 2 * kTransposed)
        interleave_whole(low + e, high + e, to + 2 * e);
    }
    for (; e < columns; e += kTransposed) {
      interleave_block(columns - e < kTransposed ? columns - e : kTransposed, low + e,
                       high == nullptr ? nullptr : high + e, to + 2 * e);
    }
  }
}

void right_from_columns(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride,
                        uint16_t* to, int64_t to_stride) {
  const int64_t pairs = paired_depth(columns) / 2;
  uint32_t words[kTransposed * kTransposed] = {}, turned[kTransposed * kTransposed];
  for (int64_t i = 0; i < rows; i += kTransposed) {
    const int64_t row_count = rows - i < kTransposed ? rows - i : kTransposed;
    for (int64_t l = 0; l < pairs; l += kTransposed) {
      const int64_t pair_count = pairs - l < kTransposed ? pairs - l : kTransposed;
      const uint16_t* first = from + i * from_stride + 2 * l;
      uint16_t* place = to + 2 * (l * to_stride + i);
      const bool whole = row_count == kTransposed && 2 * (l + kTransposed) <= columns;
      if (whole && from_stride % 2 == 0) {
        transpose_words(first, from_stride / 2, place, to_stride);
        continue;
      }
      const int64_t elements = columns - 2 * l < 2 * kTransposed ? columns - 2 * l : 2 * kTransposed;
      std::memset(words, 0, sizeof words);
      for (int64_t u = 0; u < row_count; ++u)
        std::memcpy(words + u * kTransposed, first + u * from_stride, static_cast<size_t>(elements) * 2);
      transpose_words(words, kTransposed, turned, kTransposed);
      for (int64_t u = 0; u < pair_count; ++u)
        std::memcpy(place + 2 * u * to_stride, turned + u * kTransposed, kTransposed * sizeof *turned);
    }
  }
}

/// One row after another, so that memory is read as one stream: several rows side by side are several
/// streams, which the processor fetches ahead at half the rate.
void row_products(int64_t rows, int64_t columns, const uint16_t* x, const uint16_t* y, int64_t y_stride,
                  float* products) {
  constexpr int64_t kElements = 2 * kLanes;
  constexpr int64_t kSums = 4;  // that do not wait for each other
  for (int64_t i = 0; i < rows; ++i, y += y_stride) {
    Vector total[kSums] = {};
    int64_t e = 0;
    for (; e + kSums * kElements <= columns; e += kSums * kElements) {
#pragma GCC unroll 4
      for (int64_t u = 0; u < kSums; ++u) {
        const int64_t place = e + u * kElements;
        total[u] = multiply_add_pairs(total[u], load_words(x + place), load_words(y + place));
      }
    }
    for (; e + kElements <= columns; e += kElements)
      total[0] = multiply_add_pairs(total[0], load_words(x + e), load_words(y + e));
    if (e < columns) {
      uint16_t x_rest[kElements] = {}, y_rest[kElements] = {};
      std::memcpy(x_rest, x + e, static_cast<size_t>(columns - e) * sizeof *x_rest);
      std::memcpy(y_rest, y + e, static_cast<size_t>(columns - e) * sizeof *y_rest);
      total[1] = multiply_add_pairs(total[1], load_words(x_rest), load_words(y_rest));
    }
    products[i] = lane_sum((total[0] + total[1]) + (total[2] + total[3]));
  }
}

void scale_row(int64_t columns, float factor, uint16_t* row) {
  const auto scaled = [&](const uint16_t* from) { return float_of(load_shorts(from) << 16) * factor; };
  int64_t e = 0;
  for (; e + 2 * kLanes <= columns; e += 2 * kLanes) {
    RoundedRows(scaled(row + e), scaled(row + e + kLanes)).store_both(row + e);
  }
  for (; e < columns; ++e) {
    const uint32_t bits = uint32_t{row[e]} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    value *= factor;
    row[e] = rounded_bf16(value);
  }
}

void softmax_rows(int64_t rows, int64_t columns, float* x, int64_t stride, float* largest, float* sum,
                  uint16_t* p, int64_t p_stride) {
  const int64_t padded = padded_columns(columns);
  for (int64_t i = 0; i < rows; ++i, x += stride) {
    for (int64_t e = columns; e < padded; ++e) x[e] = kMaskedScore;
    Vector top = load(x);
    for (int64_t e = kLanes; e < padded; e += kLanes) top = larger(load(x + e), top);
    largest[i] = largest_lane(top);
    const Vector shift = broadcast(largest[i] * -kLog2E);
    const auto probability = [&](int64_t e) {
      return power_of_two(multiply_add(load(x + e), broadcast(kLog2E), shift));
    };
    Vector total = {};
    int64_t e = 0;
    for (; e + 2 * kLanes <= padded; e += 2 * kLanes) {
      const Vector low = probability(e), high = probability(e + kLanes);
      total += low + high;
      if (p != nullptr) {
        RoundedRows(low, high).store_both(p + i * p_stride + e);
      }
    }
    if (e < padded) {
      const Vector low = probability(e);
      total += low;
      if (p != nullptr) RoundedRows(low, low).store_low(p + i * p_stride + e);
    }
    sum[i] = lane_sum(total);
  }
}

void exponential_right(int64_t keys, int64_t queries, const float* x, int64_t stride, float scale,
                       const float* shift, float* sum, uint16_t* right) {
  const Vector factor = broadcast(scale * kLog2E);
  for (int64_t i = 0; i < queries; i += kLanes) {
    const Vector subtracted = load(shift + i) * -kLog2E;
    const auto probability = [&](int64_t j) {
      return power_of_two(multiply_add(load(x + j * stride + i), factor, subtracted));
    };
    Vector low_sum = load(sum + i), high_sum = {};
    int64_t j = 0;
    for (; j + 2 <= keys; j += 2) {
      const Vector low = probability(j), high = probability(j + 1);
      low_sum += low;
      high_sum += high;
      store_words(right + j * stride + 2 * i, RoundedRows(low, high).words());
    }
    if (j < keys) {
      const Vector low = probability(j);
      low_sum += low;
      store_words(right + j * stride + 2 * i, RoundedRows(low, Vector{}).words());
    }
    store(sum + i, low_sum + high_sum);
  }
}

void exponential_and_product(int64_t keys, int64_t queries, float* x, const float* dp, int64_t stride,
                             float scale, const float* shift, float* sum, float* product_sum) {
  const Vector factor = broadcast(scale * kLog2E);
  for (int64_t i = 0; i < queries; i += kLanes) {
    const Vector subtracted = load(shift + i) * -kLog2E;
    Vector total = load(sum + i), products = load(product_sum + i);
    for (int64_t j = 0; j < keys; ++j) {
      float* place = x + j * stride + i;
      const Vector p = power_of_two(multiply_add(load(place), factor, subtracted));
      total += p;
      products = multiply_add(p, load(dp + j * stride + i), products);
      store(place, p);
    }
    store(sum + i, total);
    store(product_sum + i, products);
  }
}

/// Where the operands of a pair of rows go, and whether there is a second row.
struct GradientTarget {
  uint16_t *p_left, *ds_left, *ds_right;
  int64_t stride;

  void store_pair(int64_t j, int64_t i, bool has_high, const RoundedRows& p, const RoundedRows& ds) const {
    const int64_t place = j * stride + i;
    p.store_low(p_left + place);
    ds.store_low(ds_left + place);
    if (has_high) {
      p.store_high(p_left + place + stride);
      ds.store_high(ds_left + place + stride);
    }
    store_words(ds_right + j * stride + 2 * i, ds.words());
  }
};

void score_gradient(int64_t keys, int64_t queries, const float* p, const float* dp, int64_t stride,
                    const float* delta, const float* weight, uint16_t* weighted_left, uint16_t* ds_left,
                    uint16_t* ds_right) {
  const GradientTarget to{weighted_left, ds_left, ds_right, stride};
  for (int64_t j = 0; j < keys; j += 2) {
    const bool has_high = j + 1 < keys;
    for (int64_t i = 0; i < queries; i += kLanes) {
      const Vector mean = load(delta + i), factor = load(weight + i);
      const int64_t place = j * stride + i;
      const Vector low = load(p + place) * factor;
      const Vector low_ds = low * (load(dp + place) - mean);
      Vector high = {}, high_ds = {};
      if (has_high) {
        high = load(p + place + stride) * factor;
        high_ds = high * (load(dp + place + stride) - mean);
      }
      to.store_pair(j, i, has_high, RoundedRows(low, high), RoundedRows(low_ds, high_ds));
    }
  }
}

template <bool kMasked>
inline void window_score_gradient_of(int64_t keys, int64_t queries, const float* x, const float* dp,
                                     int64_t stride, float scale, float slope, int64_t first_distance,
                                     int64_t window, const float* lse, const float* delta,
                                     const GradientTarget& to) {
  const Vector factor = broadcast(scale * kLog2E);
  const float slope2 = slope * kLog2E;
  const auto last_distance = static_cast<float>(window);
  for (int64_t i = 0; i < queries; i += kLanes) {
    // The bias is split: that of key 0 belongs to the column, the rest to the row.
    const Vector distance_of_first_key = lane_numbers() + static_cast<float>(first_distance + i);
    const Vector shift = multiply_add(distance_of_first_key, broadcast(-slope2), load(lse + i) * -kLog2E);
    const Vector mean = load(delta + i);
    const auto probability = [&](int64_t j) {
      const Vector row_shift = shift + slope2 * static_cast<float>(j);
      Vector p = power_of_two(multiply_add(load(x + j * stride + i), factor, row_shift));
      if constexpr (kMasked) {
        const Vector distance = distance_of_first_key - static_cast<float>(j);
        p = distance < 0.0F ? Vector{} : p;
        p = distance > last_distance ? Vector{} : p;
      }
      return p;
    };
    for (int64_t j = 0; j < keys; j += 2) {
      const bool has_high = j + 1 < keys;
      const int64_t place = j * stride + i;
      const Vector low = probability(j);
      const Vector low_ds = low * (load(dp + place) - mean);
      Vector high = {}, high_ds = {};
      if (has_high) {
        high = probability(j + 1);
        high_ds = high * (load(dp + place + stride) - mean);
      }
      to.store_pair(j, i, has_high, RoundedRows(low, high), RoundedRows(low_ds, high_ds));
    }
  }
}

void window_score_gradient(int64_t keys, int64_t queries, const float* x, const float* dp, int64_t stride,
                           float scale, float slope, int64_t first_distance, int64_t window, const float* lse,
                           const float* delta, uint16_t* p_left, uint16_t* ds_left, uint16_t* ds_right) {
  const bool all_visible = first_distance >= keys - 1 && first_distance + queries - 1 <= window;
  const auto run = all_visible ? window_score_gradient_of<false> : window_score_gradient_of<true>;
  run(keys, queries, x, dp, stride, scale, slope, first_distance, window, lse, delta,
      {p_left, ds_left, ds_right, stride});
}

}  // namespace

namespace GCA_ISA {

#define GCA_ISA_NAME_OF(isa) #isa
#define GCA_ISA_NAME(isa) GCA_ISA_NAME_OF(isa)

extern const Bf16TileKernels kBf16Kernels;
const Bf16TileKernels kBf16Kernels = {GCA_ISA_NAME(GCA_ISA),
                                      kMultipliesBf16,
#if defined(__AMX_BF16__) || defined(GCA_EMULATES_TILE_REGISTERS)
                                      begin_products,
                                      end_products,
                                      register_product,
#else
                                      nullptr,
                                      nullptr,
                                      pair_product,
#endif
                                      left_from_rows,
                                      left_from_columns,
                                      right_from_rows,
                                      right_from_columns,
                                      round_rows,
                                      row_products,
                                      scale_row,
                                      softmax_rows,
                                      exponential_right,
                                      exponential_and_product,
                                      score_gradient,
                                      window_score_gradient};

}  // namespace GCA_ISA
}  // namespace gca::kernels
