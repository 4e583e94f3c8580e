#pragma once
// Tiles of bf16 operands: what the products of fused CPU kernels read where the processor multiplies pairs of
// bf16 (AVX-512 BF16). Elements are kept as their bits, uint16_t; sums are float.
//
// The instruction adds a_0 b_0 + a_1 b_1 to a lane, so operands hold pairs along the depth of the product:
//
//   left    one row a row of the result, its depth in order; the stride is even
//   right   pair l, column e, element u:  right[(l * stride + e) * 2 + u],  depth 2 l + u; the stride, in
//           columns, is a multiple of kTileColumns
//
// A depth that is odd is filled with zeros, and so are padding columns of right operands: what is packed here
// is finite wherever its source is. Score tiles are those of tile_kernels.h: float, a row a key, a column a
// query.

#include <cstdint>
#include <span>

#include "kernels/common/flush_subnormals.h"
#include "kernels/common/tile_kernels.h"

namespace gca::kernels {

/// `depth` rounded up to whole pairs.
constexpr int64_t paired_depth(int64_t depth) {
  return (depth + 1) / 2 * 2;
}

/// One of the products that are summed into a target: left (rows x depth), right (depth x columns).
struct ProductSegment {
  const uint16_t* left;
  int64_t left_stride;
  const uint16_t* right;
  int64_t right_stride;
  int64_t depth;
};

/// Where a product goes: floats, or bf16 rounded from its sums.
struct ProductTarget {
  float* sums = nullptr;        ///< c
  uint16_t* rounded = nullptr;  ///< c in bf16; then the rest has no meaning but the stride
  int64_t stride = 0;
  bool add = false;               ///< c += instead of c =
  const float* factor = nullptr;  ///< c[i][e] += factor[e] * product[i][e], one a column
};

struct Bf16TileKernels {
  const char* name;
  bool native;  ///< the processor multiplies bf16 itself; else the arithmetic is emulated, for tests

  /// Prepares this thread for products, and ends that; null where there is nothing to prepare. See
  /// ProductScope.
  void (*begin_products)();
  void (*end_products)();

  /// c (rows x columns) from the sum of the segments' products, which stays in registers until it is whole.
  /// columns is a multiple of kTileColumns.
  void (*product)(int64_t rows, int64_t columns, std::span<const ProductSegment> segments,
                  const ProductTarget& target);

  /// Packing: `from` is a matrix of `rows` rows, `from_stride` elements apart.
  /// left = from; to_stride >= paired_depth(columns).
  void (*left_from_rows)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride,
                         uint16_t* to, int64_t to_stride);
  /// left = from^T: `columns` rows of depth `rows`; to_stride >= paired_depth(rows).
  void (*left_from_columns)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride,
                            uint16_t* to, int64_t to_stride);
  /// right = from: depth `rows`; to_stride >= padded_columns(columns).
  void (*right_from_rows)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride,
                          uint16_t* to, int64_t to_stride);
  /// right = from^T: depth `columns`; to_stride >= padded_columns(rows).
  void (*right_from_columns)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride,
                             uint16_t* to, int64_t to_stride);

  /// Rows of floats as rows of bf16, to nearest, ties to even; NaN stays NaN.
  void (*round_rows)(int64_t rows, int64_t columns, const float* from, int64_t from_stride, uint16_t* to,
                     int64_t to_stride);

  /// products[i] = <x, row i of y>, any number of columns: a matrix times a vector.
  void (*row_products)(int64_t rows, int64_t columns, const uint16_t* x, const uint16_t* y, int64_t y_stride,
                       float* products);

  /// row[e] *= factor, rounded again.
  void (*scale_row)(int64_t columns, float factor, uint16_t* row);

  /// Softmax of each row of scores before it is normalised: largest[i] = max of row i, p = exp(x -
  /// largest[i]), sum[i] = the sum of p before it is rounded. p, where it is not null, has room for
  /// padded_columns(columns) elements a row; what stands beyond `columns` in x is overwritten, in p it is 0.
  void (*softmax_rows)(int64_t rows, int64_t columns, float* x, int64_t stride, float* largest, float* sum,
                       uint16_t* p, int64_t p_stride);

  /// p = exp(x[j][i] * scale - shift[i]) as a right operand (depth keys); sum[i] += p before it is rounded.
  void (*exponential_right)(int64_t keys, int64_t queries, const float* x, int64_t stride, float scale,
                            const float* shift, float* sum, uint16_t* right);

  /// x[j][i] becomes p = exp(x * scale - shift[i]); sum[i] += p; product[i] += p * dp[j][i].
  void (*exponential_and_product)(int64_t keys, int64_t queries, float* x, const float* dp, int64_t stride,
                                  float scale, const float* shift, float* sum, float* product);

  /// From probabilities and their gradients to operands: weighted = weight[i] * p[j][i] as left,
  /// ds = weighted * (dp[j][i] - delta[i]) as left and as right. All have the score tile's stride.
  void (*score_gradient)(int64_t keys, int64_t queries, const float* p, const float* dp, int64_t stride,
                         const float* delta, const float* weight, uint16_t* weighted_left, uint16_t* ds_left,
                         uint16_t* ds_right);

  /// The same from scores of a window: p = exp(x[j][i] * scale - slope * distance - lse[i]) where
  /// 0 <= distance <= window, else 0, with distance = first_distance + i - j; ds = p * (dp[j][i] - delta[i]).
  void (*window_score_gradient)(int64_t keys, int64_t queries, const float* x, const float* dp,
                                int64_t stride, float scale, float slope, int64_t first_distance,
                                int64_t window, const float* lse, const float* delta, uint16_t* p_left,
                                uint16_t* ds_left, uint16_t* ds_right);
};

/// While it lives, this thread's products need not prepare the processor each time, and subnormal numbers
/// count as zero. No other code that uses tile registers (LibTorch's products) may run in this thread
/// meanwhile. A product outside of any scope is right, too.
class ProductScope {
 public:
  explicit ProductScope(const Bf16TileKernels& kernels) : kernels_(kernels) {
    if (kernels_.begin_products != nullptr) kernels_.begin_products();
  }
  ~ProductScope() {
    if (kernels_.end_products != nullptr) kernels_.end_products();
  }
  ProductScope(const ProductScope&) = delete;
  ProductScope& operator=(const ProductScope&) = delete;

 private:
  FlushSubnormals flush_subnormals_;
  const Bf16TileKernels& kernels_;
};

/// The version that fused kernels use; null where the processor does not multiply bf16
/// (Implementation::emulated: the best of what runs, never null).
const Bf16TileKernels* bf16_tile_kernels();

/// All versions that this processor runs. For tests.
std::span<const Bf16TileKernels* const> runnable_bf16_tile_kernels();

}  // namespace gca::kernels
