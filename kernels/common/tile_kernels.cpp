// The tile functions of one instruction set: GCA_ISA names it, the compiler's flags give it. Compiled
// once for each, so no template or inline function of another header may be used here: the linker keeps one
// copy of those, and it could be one that the running processor does not know.
#include "kernels/common/tile_kernels.h"

#include "kernels/common/bf16_vector.h"
#include "kernels/common/row_vectors.h"
#include "kernels/common/tile_product.h"
#include "kernels/common/tile_transpose.h"

namespace gca::kernels {
namespace {

void transpose(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
               int64_t to_stride) {
  const int64_t whole_columns = columns / kTransposed * kTransposed;
  int64_t i = 0;
  for (; i + kTransposed <= rows; i += kTransposed) {
    for (int64_t e = 0; e < whole_columns; e += kTransposed) {
      transpose_words(from + i * from_stride + e, from_stride, to + e * to_stride + i, to_stride);
    }
    for (int64_t e = whole_columns; e < columns; ++e) {
      for (int64_t u = 0; u < kTransposed; ++u) to[e * to_stride + i + u] = from[(i + u) * from_stride + e];
    }
  }
  for (; i < rows; ++i) {
    for (int64_t e = 0; e < columns; ++e) to[e * to_stride + i] = from[i * from_stride + e];
  }
}

void largest_score(int64_t keys, int64_t queries, const float* x, int64_t stride, float scale,
                   float* largest) {
  for (int64_t i = 0; i < queries; i += kLanes) {
    Vector top = load(largest + i);
    for (int64_t j = 0; j < keys; ++j) top = larger(load(x + j * stride + i) * scale, top);
    store(largest + i, top);
  }
}

template <bool kMasked>
inline void window_score_of(int64_t keys, int64_t queries, float* x, int64_t stride, float scale, float slope,
                            int64_t first_distance, int64_t window, float* largest) {
  const Vector masked = broadcast(kMaskedScore), factor = broadcast(scale);
  const auto last_distance = static_cast<float>(window);
  for (int64_t i = 0; i < queries; i += kLanes) {
    Vector top = load(largest + i);
    const Vector distance_of_first_key = lane_numbers() + static_cast<float>(first_distance + i);
    for (int64_t j = 0; j < keys; ++j) {
      const Vector distance = distance_of_first_key - static_cast<float>(j);
      Vector score = multiply_add(load(x + j * stride + i), factor, distance * -slope);
      if constexpr (kMasked) {
        score = distance < 0.0F ? masked : score;
        score = distance > last_distance ? masked : score;
      }
      top = larger(score, top);
      store(x + j * stride + i, score);
    }
    store(largest + i, top);
  }
}

void window_score(int64_t keys, int64_t queries, float* x, int64_t stride, float scale, float slope,
                  int64_t first_distance, int64_t window, float* largest) {
  const bool all_visible = first_distance >= keys - 1 && first_distance + queries - 1 <= window;
  const auto run = all_visible ? window_score_of<false> : window_score_of<true>;
  run(keys, queries, x, stride, scale, slope, first_distance, window, largest);
}

void exponential_columns(int64_t keys, int64_t queries, float* x, int64_t stride, float scale,
                         const float* shift, float* sum) {
  for (int64_t i = 0; i < queries; i += kLanes) {
    const Vector subtracted = load(shift + i), factor = broadcast(scale);
    Vector total = load(sum + i);
    for (int64_t j = 0; j < keys; ++j) {
      const Vector value = exponential(multiply_add(load(x + j * stride + i), factor, -subtracted));
      total += value;
      store(x + j * stride + i, value);
    }
    store(sum + i, total);
  }
}

void softmax_row(int64_t keys, float* x, float scale, float bias, float bias_step, float* largest,
                 float* denominator) {
  const int64_t whole = keys / kLanes * kLanes;
  const Vector factor = broadcast(scale), bias_of_lane = lane_numbers() * bias_step + bias;
  // The last keys, filled up with scores that count for nothing.
  float rest[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t j = whole + lane;
    rest[lane] = j < keys ? x[j] * scale + bias + static_cast<float>(j) * bias_step : -__builtin_inff();
  }
  Vector top = larger(load(rest), broadcast(*largest));
  for (int64_t j = 0; j < whole; j += kLanes) {
    const Vector score = multiply_add(load(x + j), factor, bias_of_lane + static_cast<float>(j) * bias_step);
    top = larger(score, top);
    store(x + j, score);
  }
  const float greatest = largest_lane(top);
  *largest = greatest;
  const Vector last = exponential(load(rest) - greatest);
  Vector total = last;
  for (int64_t j = 0; j < whole; j += kLanes) {
    const Vector value = exponential(load(x + j) - greatest);
    total += value;
    store(x + j, value);
  }
  for (int64_t j = whole; j < keys; ++j) x[j] = last[j - whole];
  *denominator += lane_sum(total);
}

void logarithm_of_all(int64_t count, float* x) {
  for (int64_t i = 0; i < count; i += kLanes) store(x + i, logarithm(load(x + i)));
}

void scale_columns(int64_t rows, int64_t columns, float* x, int64_t stride, const float* factor) {
  for (int64_t i = 0; i < columns; i += kLanes) {
    const Vector column_factor = load(factor + i);
    for (int64_t j = 0; j < rows; ++j) store(x + j * stride + i, load(x + j * stride + i) * column_factor);
  }
}

void scale_rows(int64_t rows, int64_t columns, float* x, int64_t stride, const float* factor) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t e = 0; e < columns; e += kLanes) {
      store(x + i * stride + e, load(x + i * stride + e) * factor[i]);
    }
  }
}

void column_products(int64_t rows, int64_t columns, const float* x, const float* y, int64_t stride,
                     float* sum) {
  for (int64_t i = 0; i < columns; i += kLanes) {
    Vector total = load(sum + i);
    for (int64_t j = 0; j < rows; ++j)
      total = multiply_add(load(x + j * stride + i), load(y + j * stride + i), total);
    store(sum + i, total);
  }
}

inline Vector load_wide(const float* from) {
  return load(from);
}
inline Vector load_wide(const uint16_t* bf16) {
  return float_of(load_shorts(bf16) << 16);
}

inline float load_one(const float* from) {
  return *from;
}
inline float load_one(const uint16_t* bf16) {
  const uint32_t bits = uint32_t{*bf16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline float load_one(const int8_t* from) {
  return *from;
}

/// So many instructions widen a line of bytes that the processor looks too few lines ahead by itself: without
/// this, AVX2 reads half as fast as memory allows.
inline void fetch_bytes_ahead(const int8_t* from) {
  constexpr int64_t kAhead = 1024;
  __builtin_prefetch(from + kAhead);
}

/// <x, y> of the first `e` columns, as many as fill vectors, in lanes; sums that do not wait for each other.
template <typename Element>
inline Vector row_lanes(int64_t columns, const float* x, const Element* y, int64_t& e) {
  constexpr int64_t kSums = 4;
  Vector total[kSums] = {};
  e = 0;
  for (; e + kSums * kLanes <= columns; e += kSums * kLanes) {
#pragma GCC unroll 4
    for (int64_t u = 0; u < kSums; ++u) {
      const int64_t place = e + u * kLanes;
      total[u] = multiply_add(load(x + place), load_wide(y + place), total[u]);
    }
    if constexpr (sizeof(Element) == 1) fetch_bytes_ahead(y + e);
  }
  for (; e + kLanes <= columns; e += kLanes) total[0] = multiply_add(load(x + e), load_wide(y + e), total[0]);
  return (total[0] + total[1]) + (total[2] + total[3]);
}

/// <x, y>
template <typename Element>
inline float row_product(int64_t columns, const float* x, const Element* y) {
  int64_t e = 0;
  float sum = lane_sum(row_lanes(columns, x, y, e));
  for (; e < columns; ++e) sum += x[e] * load_one(y + e);
  return sum;
}

/// Short rows with gaps between, such as one head's: no stream that the processor recognises, so it is told.
template <typename Element>
class ShortRows {
 public:
  ShortRows(int64_t rows, int64_t columns, const Element* first, int64_t stride)
      : rows_(stride > columns && columns <= kShort ? rows : 0),
        size_bytes_(columns * static_cast<int64_t>(sizeof(Element))),
        first_(first),
        stride_(stride) {}

  /// To be called as row i is read.
  void fetch_ahead(int64_t i) const {
    constexpr int64_t kAhead = 16, kLine = 64;
    if (i + kAhead >= rows_) return;
    const char* row = reinterpret_cast<const char*>(first_ + (i + kAhead) * stride_);
    for (int64_t at = 0; at < size_bytes_; at += kLine) __builtin_prefetch(row + at);
  }

 private:
  static constexpr int64_t kShort = 256;
  int64_t rows_, size_bytes_;
  const Element* first_;
  int64_t stride_;
};

/// One row after another, so that memory is read as one stream: several rows side by side are several
/// streams, which the processor fetches ahead at half the rate.
template <typename Element>
inline void row_products_of(int64_t rows, int64_t columns, const float* x, const Element* y, int64_t y_stride,
                            float* products) {
  const ShortRows<Element> short_rows(rows, columns, y, y_stride);
  int64_t i = 0;
  if (columns % kLanes == 0) {
    for (; i + kLanes <= rows; i += kLanes) {
      Vector lanes[kLanes];
      int64_t e = 0;
      for (int64_t u = 0; u < kLanes; ++u) {
        short_rows.fetch_ahead(i + u);
        lanes[u] = row_lanes(columns, x, y + (i + u) * y_stride, e);
      }
      store(products + i, lane_sums(lanes));
    }
  }
  for (; i < rows; ++i) products[i] = row_product(columns, x, y + i * y_stride);
}

void row_products(int64_t rows, int64_t columns, const float* x, const float* y, int64_t y_stride,
                  float* products) {
  row_products_of(rows, columns, x, y, y_stride, products);
}

void row_products_bf16(int64_t rows, int64_t columns, const float* x, const uint16_t* y, int64_t y_stride,
                       float* products) {
  row_products_of(rows, columns, x, y, y_stride, products);
}

void row_products_int8(int64_t rows, int64_t columns, const float* x, const int8_t* y, int64_t y_stride,
                       float* products) {
  row_products_of(rows, columns, x, y, y_stride, products);
}

void paired_row_products(int64_t rows, int64_t columns, const float* x, int64_t x_stride, const float* y,
                         int64_t y_stride, float* products) {
  for (int64_t i = 0; i < rows; ++i) products[i] = row_product(columns, x + i * x_stride, y + i * y_stride);
}

template <typename Element>
inline void add_weighted_rows_of(int64_t rows, int64_t columns, const float* weight, const Element* y,
                                 int64_t y_stride, float* sum) {
  constexpr int64_t kVectors = 4;
  const ShortRows<Element> short_rows(rows, columns, y, y_stride);
  int64_t e = 0;
  for (; e + kVectors * kLanes <= columns; e += kVectors * kLanes) {
    Vector total[kVectors];
    for (int64_t u = 0; u < kVectors; ++u) total[u] = load(sum + e + u * kLanes);
    for (int64_t i = 0; i < rows; ++i) {
      if (e == 0) short_rows.fetch_ahead(i);
      const Vector factor = broadcast(weight[i]);
#pragma GCC unroll 4
      for (int64_t u = 0; u < kVectors; ++u)
        total[u] = multiply_add(factor, load_wide(y + i * y_stride + e + u * kLanes), total[u]);
    }
    for (int64_t u = 0; u < kVectors; ++u) store(sum + e + u * kLanes, total[u]);
  }
  for (; e + kLanes <= columns; e += kLanes) {
    Vector total = load(sum + e);
    for (int64_t i = 0; i < rows; ++i)
      total = multiply_add(broadcast(weight[i]), load_wide(y + i * y_stride + e), total);
    store(sum + e, total);
  }
  for (; e < columns; ++e) {
    for (int64_t i = 0; i < rows; ++i) sum[e] += weight[i] * load_one(y + i * y_stride + e);
  }
}

void add_weighted_rows(int64_t rows, int64_t columns, const float* weight, const float* y, int64_t y_stride,
                       float* sum) {
  add_weighted_rows_of(rows, columns, weight, y, y_stride, sum);
}

void add_weighted_rows_bf16(int64_t rows, int64_t columns, const float* weight, const uint16_t* y,
                            int64_t y_stride, float* sum) {
  add_weighted_rows_of(rows, columns, weight, y, y_stride, sum);
}

void score_gradient(int64_t keys, int64_t queries, float* p, float* dp, int64_t stride, const float* delta,
                    const float* weight) {
  for (int64_t i = 0; i < queries; i += kLanes) {
    const Vector mean = load(delta + i), factor = load(weight + i);
    for (int64_t j = 0; j < keys; ++j) {
      const Vector weighted = load(p + j * stride + i) * factor;
      store(dp + j * stride + i, weighted * (load(dp + j * stride + i) - mean));
      store(p + j * stride + i, weighted);
    }
  }
}

void copy_rows(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
               int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + kLanes <= columns; e += kLanes) store(to + e, load(from + e));
    for (; e < columns; ++e) to[e] = from[e];
  }
}

void add_rows(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
              int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + kLanes <= columns; e += kLanes) store(to + e, load(to + e) + load(from + e));
    for (; e < columns; ++e) to[e] += from[e];
  }
}

void widen_bf16(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, float* to,
                int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + kLanes <= columns; e += kLanes) {
      store(to + e, load_wide(from + e));
    }
    for (; e < columns; ++e) {
      const uint32_t bits = uint32_t{from[e]} << 16;
      std::memcpy(to + e, &bits, sizeof bits);
    }
  }
}

void narrow_bf16(int64_t rows, int64_t columns, const float* from, int64_t from_stride, uint16_t* to,
                 int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + 2 * kLanes <= columns; e += 2 * kLanes)
      RoundedRows(load(from + e), load(from + e + kLanes)).store_both(to + e);
    for (; e < columns; ++e) to[e] = rounded_bf16(from[e]);
  }
}

}  // namespace

namespace GCA_ISA {

#define GCA_ISA_NAME_OF(isa) #isa
#define GCA_ISA_NAME(isa) GCA_ISA_NAME_OF(isa)

extern const TileKernels kKernels;
const TileKernels kKernels = {GCA_ISA_NAME(GCA_ISA),
                              2 * kLanes < kTileColumns ? kTileColumns : 2 * kLanes,
                              tile_product,
                              transpose,
                              largest_score,
                              window_score,
                              exponential_columns,
                              softmax_row,
                              logarithm_of_all,
                              scale_columns,
                              scale_rows,
                              column_products,
                              paired_row_products,
                              row_products,
                              row_products_bf16,
                              row_products_int8,
                              add_weighted_rows,
                              add_weighted_rows_bf16,
                              score_gradient,
                              copy_rows,
                              add_rows,
                              widen_bf16,
                              narrow_bf16};

}  // namespace GCA_ISA
}  // namespace gca::kernels
