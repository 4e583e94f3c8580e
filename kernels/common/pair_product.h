#pragma once
// The product of bf16 tiles by vectors of pairs, c = the sum of left_t right_t over the segments t.
//
// Bound by the multiply-add units: a block of the result (4 rows by 4 vectors with AVX-512) stays in
// registers over the whole depth, so that a pair of the depth costs 16 multiply-adds, 4 loads of the right
// operand and 4 broadcasts of the left one.

#include "kernels/common/bf16_rows.h"
#include "kernels/common/bf16_tile_kernels.h"

namespace gca::kernels {
namespace {

// Vectors of a block's row, and rows of a block by its vectors: as many sums as registers hold beside a row
// of the right operand.
constexpr int64_t kBlockVectors = 4;
constexpr int64_t rows_of_block(int64_t vectors) {
  return vectors == 4 ? 4 : vectors == 3 ? 6 : vectors == 2 ? 8 : 16;
}

/// The rows and columns of a target that a block or panel begins at.
struct Place {
  int64_t row, column;
};

template <int64_t kRows, int64_t kVectors>
inline void store_block(const Vector (&sum)[kRows][kVectors], const ProductTarget& to, const Place& place) {
  if (to.rounded != nullptr) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < kRows; ++i) {
      uint16_t* c = to.rounded + (place.row + i) * to.stride + place.column;
#pragma GCC unroll 2
      for (int64_t u = 0; u + 2 <= kVectors; u += 2)
        RoundedRows(sum[i][u], sum[i][u + 1]).store_both(c + u * kLanes);
      if constexpr (kVectors % 2 == 1) {
        const Vector last = sum[i][kVectors - 1];
        RoundedRows(last, last).store_low(c + (kVectors - 1) * kLanes);
      }
    }
    return;
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int64_t u = 0; u < kVectors; ++u) {
      float* c = to.sums + (place.row + i) * to.stride + place.column + u * kLanes;
      if (to.factor != nullptr) {
        store(c, multiply_add(sum[i][u], load(to.factor + place.column + u * kLanes), load(c)));
      } else {
        store(c, to.add ? load(c) + sum[i][u] : sum[i][u]);
      }
    }
  }
}

template <int64_t kRows, int64_t kVectors>
inline void product_block(const ProductSegment* segments, size_t count, const ProductTarget& to,
                          const Place& place) {
  Vector sum[kRows][kVectors] = {};
  for (size_t t = 0; t < count; ++t) {
    const ProductSegment& segment = segments[t];
    const int64_t pairs = paired_depth(segment.depth) / 2, left_stride = segment.left_stride;
    const uint16_t* left = segment.left + place.row * left_stride;
    const uint16_t* right = segment.right + 2 * place.column;
    const int64_t right_step = 2 * segment.right_stride;
    for (int64_t l = 0; l < pairs; ++l) {
      Words row[kVectors];
#pragma GCC unroll 4
      for (int64_t u = 0; u < kVectors; ++u) row[u] = load_words(right + 2 * u * kLanes);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kRows; ++i) {
        const Words pair = broadcast_word(left + i * left_stride + 2 * l);
#pragma GCC unroll 4
        for (int64_t u = 0; u < kVectors; ++u) sum[i][u] = multiply_add_pairs(sum[i][u], pair, row[u]);
      }
      right += right_step;
    }
  }
  store_block(sum, to, place);
}

/// The last rows, fewer than a block.
template <int64_t kRows, int64_t kVectors>
inline void product_rest(int64_t rows, const ProductSegment* segments, size_t count, const ProductTarget& to,
                         const Place& place) {
  if (rows == kRows) {
    product_block<kRows, kVectors>(segments, count, to, place);
  } else if constexpr (kRows > 1) {
    product_rest<kRows - 1, kVectors>(rows, segments, count, to, place);
  }
}

template <int64_t kVectors>
inline void product_panel(int64_t rows, int64_t column, const ProductSegment* segments, size_t count,
                          const ProductTarget& to) {
  constexpr int64_t kRows = rows_of_block(kVectors);
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) product_block<kRows, kVectors>(segments, count, to, {i, column});
  product_rest<kRows - 1, kVectors>(rows - i, segments, count, to, {i, column});
}

void pair_product(int64_t rows, int64_t columns, std::span<const ProductSegment> segments,
                  const ProductTarget& target) {
  const ProductSegment* first = segments.data();
  const size_t count = segments.size();
  int64_t column = 0;
  for (int64_t vectors = columns / kLanes; vectors > 0;) {
    // 5 vectors are 3 and 2: a block of one vector has too few multiply-adds to a load.
    const int64_t taken = vectors == 5 ? 3 : vectors < kBlockVectors ? vectors : kBlockVectors;
    switch (taken) {
      case 4:
        product_panel<4>(rows, column, first, count, target);
        break;
      case 3:
        product_panel<3>(rows, column, first, count, target);
        break;
      case 2:
        product_panel<2>(rows, column, first, count, target);
        break;
      default:
        product_panel<1>(rows, column, first, count, target);
    }
    vectors -= taken;
    column += taken * kLanes;
  }
}

}  // namespace
}  // namespace gca::kernels
