#pragma once
// The tile product, c = or += a b, or c += a b with a factor on each column. Bound by the multiply-add units:
// a block of 6 rows by 2 vectors is kept in 12 registers over the whole depth, so that a step costs 12
// multiply-adds, 2 loads of b and 6 broadcasts of a. b's panel (depth x 2 vectors) stays in the first-level
// cache while a's rows pass. Operands are tiles; nothing is packed.

#include "kernels/common/tile_vector.h"

namespace gca::kernels {
namespace {

constexpr int64_t kBlockRows = 6;

/// One block of kRows rows and kVectors vectors.
template <int64_t kRows, int64_t kVectors>
inline void product_block(int64_t depth, const float* a, int64_t a_row, int64_t a_column, const float* b,
                          int64_t b_stride, float* c, int64_t c_stride, bool add, const float* factor) {
  Vector sum[kRows][kVectors] = {};
#pragma GCC unroll 4
  for (int64_t l = 0; l < depth; ++l) {
    Vector b_row[kVectors];
#pragma GCC unroll 2
    for (int64_t u = 0; u < kVectors; ++u) b_row[u] = load(b + u * kLanes);
#pragma GCC unroll 6
    for (int64_t i = 0; i < kRows; ++i) {
      const Vector a_value = broadcast(a[i * a_row]);
#pragma GCC unroll 2
      for (int64_t u = 0; u < kVectors; ++u) sum[i][u] = multiply_add(a_value, b_row[u], sum[i][u]);
    }
    a += a_column;
    b += b_stride;
  }
#pragma GCC unroll 6
  for (int64_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int64_t u = 0; u < kVectors; ++u) {
      float* to = c + i * c_stride + u * kLanes;
      if (factor != nullptr) {
        store(to, multiply_add(sum[i][u], load(factor + u * kLanes), load(to)));
      } else {
        store(to, add ? load(to) + sum[i][u] : sum[i][u]);
      }
    }
  }
}

/// All rows of one panel of kVectors vectors.
template <int64_t kVectors>
inline void product_panel(int64_t rows, int64_t depth, const float* a, int64_t a_row, int64_t a_column,
                          const float* b, int64_t b_stride, float* c, int64_t c_stride, bool add,
                          const float* factor) {
  int64_t i = 0;
  for (; i + kBlockRows <= rows; i += kBlockRows) {
    product_block<kBlockRows, kVectors>(depth, a + i * a_row, a_row, a_column, b, b_stride, c + i * c_stride,
                                        c_stride, add, factor);
  }
  a += i * a_row;
  c += i * c_stride;
  switch (rows - i) {
    case 5:
      return product_block<5, kVectors>(depth, a, a_row, a_column, b, b_stride, c, c_stride, add, factor);
    case 4:
      return product_block<4, kVectors>(depth, a, a_row, a_column, b, b_stride, c, c_stride, add, factor);
    case 3:
      return product_block<3, kVectors>(depth, a, a_row, a_column, b, b_stride, c, c_stride, add, factor);
    case 2:
      return product_block<2, kVectors>(depth, a, a_row, a_column, b, b_stride, c, c_stride, add, factor);
    case 1:
      return product_block<1, kVectors>(depth, a, a_row, a_column, b, b_stride, c, c_stride, add, factor);
    default:
      return;
  }
}

inline void tile_product(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_row,
                         int64_t a_column, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                         bool add, const float* factor) {
  int64_t e = 0;
  for (; e + 2 * kLanes <= columns; e += 2 * kLanes) {
    product_panel<2>(rows, depth, a, a_row, a_column, b + e, b_stride, c + e, c_stride, add,
                     factor == nullptr ? nullptr : factor + e);
  }
  for (; e < columns; e += kLanes) {
    product_panel<1>(rows, depth, a, a_row, a_column, b + e, b_stride, c + e, c_stride, add,
                     factor == nullptr ? nullptr : factor + e);
  }
}

}  // namespace
}  // namespace gca::kernels
