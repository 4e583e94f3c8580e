// The tile functions of one instruction set: GCA_TILE_ISA names it, the compiler's flags give it. Compiled
// once for each, so no template or inline function of another header may be used here: the linker keeps one
// copy of those, and it could be one that the running processor does not know.
#include "kernels/common/tile_kernels.h"

#include "kernels/common/tile_product.h"
#include "kernels/common/tile_vector.h"

namespace gca::kernels {
namespace {

// Rows of the transpose that are read together, so that whole cache lines are written.
constexpr int64_t kTransposeBlock = 8;

void transpose(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
               int64_t to_stride) {
  int64_t i = 0;
  for (; i + kTransposeBlock <= rows; i += kTransposeBlock) {
    for (int64_t e = 0; e < columns; ++e) {
      for (int64_t u = 0; u < kTransposeBlock; ++u)
        to[e * to_stride + i + u] = from[(i + u) * from_stride + e];
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

void window_score(int64_t keys, int64_t queries, float* x, int64_t stride, float scale, float slope,
                  int64_t first_distance, int64_t window, float* largest) {
  const Vector masked = broadcast(-__builtin_inff());
  const auto last_distance = static_cast<float>(window);
  for (int64_t i = 0; i < queries; i += kLanes) {
    Vector top = load(largest + i);
    const Vector distance_of_first_key = lane_numbers() + static_cast<float>(first_distance + i);
    for (int64_t j = 0; j < keys; ++j) {
      const Vector distance = distance_of_first_key - static_cast<float>(j);
      Vector score = load(x + j * stride + i) * scale - distance * slope;
      score = distance < 0.0F ? masked : score;
      score = distance > last_distance ? masked : score;
      top = larger(score, top);
      store(x + j * stride + i, score);
    }
    store(largest + i, top);
  }
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

void row_products(int64_t rows, int64_t columns, const float* x, int64_t x_stride, const float* y,
                  int64_t y_stride, float* sum) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* x_row = x + i * x_stride;
    const float* y_row = y + i * y_stride;
    Vector total[2] = {};
    int64_t e = 0;
    for (; e + 2 * kLanes <= columns; e += 2 * kLanes) {
      total[0] = multiply_add(load(x_row + e), load(y_row + e), total[0]);
      total[1] = multiply_add(load(x_row + e + kLanes), load(y_row + e + kLanes), total[1]);
    }
    float rest = 0;
    for (; e < columns; ++e) rest += x_row[e] * y_row[e];
    sum[i] = lane_sum(total[0] + total[1]) + rest;
  }
}

inline Vector load_bf16(const uint16_t* from) {
  ShortVector half;
  std::memcpy(&half, from, sizeof half);
  const IntVector bits = __builtin_convertvector(half, IntVector) << 16;
  Vector value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void row_products_bf16(int64_t rows, int64_t columns, const float* x, const uint16_t* y, int64_t y_stride,
                       float* sum) {
  for (int64_t i = 0; i < rows; ++i, y += y_stride) {
    Vector total[2] = {};
    int64_t e = 0;
    for (; e + 2 * kLanes <= columns; e += 2 * kLanes) {
      total[0] = multiply_add(load(x + e), load_bf16(y + e), total[0]);
      total[1] = multiply_add(load(x + e + kLanes), load_bf16(y + e + kLanes), total[1]);
    }
    float rest = 0;
    for (; e < columns; ++e) {
      const uint32_t bits = uint32_t{y[e]} << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      rest += x[e] * value;
    }
    sum[i] = lane_sum(total[0] + total[1]) + rest;
  }
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

void widen_bf16(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, float* to,
                int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    int64_t e = 0;
    for (; e + kLanes <= columns; e += kLanes) {
      ShortVector half;
      std::memcpy(&half, from + e, sizeof half);
      const IntVector bits = __builtin_convertvector(half, IntVector) << 16;
      std::memcpy(to + e, &bits, sizeof bits);
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
    for (int64_t e = 0; e < columns; ++e) {
      uint32_t bits;
      std::memcpy(&bits, from + e, sizeof bits);
      const uint32_t rounded = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;
      const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
      to[e] = static_cast<uint16_t>(is_nan ? 0x7FC0U : rounded);
    }
  }
}

}  // namespace

namespace GCA_TILE_ISA {

#define GCA_TILE_NAME_OF(isa) #isa
#define GCA_TILE_NAME(isa) GCA_TILE_NAME_OF(isa)

extern const TileKernels kKernels;
const TileKernels kKernels = {GCA_TILE_NAME(GCA_TILE_ISA),
                              2 * kLanes < kTileColumns ? kTileColumns : 2 * kLanes,
                              tile_product,
                              transpose,
                              largest_score,
                              window_score,
                              exponential_columns,
                              scale_columns,
                              scale_rows,
                              column_products,
                              row_products,
                              row_products_bf16,
                              score_gradient,
                              copy_rows,
                              widen_bf16,
                              narrow_bf16};

}  // namespace GCA_TILE_ISA
}  // namespace gca::kernels
