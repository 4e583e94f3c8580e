#pragma once
// Tiles: small float matrices that fit the first-level cache, and what fused CPU kernels do with them. A
// kernel copies its operands into tiles (bf16 becomes float on the way), works there, and writes results back
// once.
//
// A tile is row-major; its rows start `stride` floats apart. Columns are processed in whole groups of
// kTileColumns: strides and allocated columns are multiples of it, and padding may hold any value (it never
// reaches other columns). Scores are kept transposed, one row a key and one column a query, so that every
// statistic of a query is a running vector over the rows and needs no sum across a vector register.
//
// Each function exists once an instruction set (tile_kernels.cpp, compiled several times); tile_kernels()
// chooses.

#include <cstdint>
#include <span>

namespace gca::kernels {

inline constexpr int64_t kTileColumns = 16;

/// `count` rounded up to a whole number of column groups.
constexpr int64_t padded_columns(int64_t count) {
  return (count + kTileColumns - 1) / kTileColumns * kTileColumns;
}

/// A score so low that its exponential beside any other is 0, and finite, so that no sum of it is NaN.
inline constexpr float kMaskedScore = -1e30F;

struct TileKernels {
  const char* name;         ///< "baseline", "avx2" or "avx512"
  int64_t product_columns;  ///< columns of b that the product takes at once; fewer cost as much

  /// c (rows x columns) = or += a (rows x depth) b (depth x columns), or c[i][e] += factor[e] * (a b)[i][e]
  /// where factor is not null; element (i, l) of a is a[i * a_row + l * a_column].
  void (*product)(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_row,
                  int64_t a_column, const float* b, int64_t b_stride, float* c, int64_t c_stride, bool add,
                  const float* factor);

  /// to (columns x rows) = transpose of from (rows x columns).
  void (*transpose)(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
                    int64_t to_stride);

  /// largest[i] = max(largest[i], max over keys of x[j][i] * scale).
  void (*largest_score)(int64_t keys, int64_t queries, const float* x, int64_t stride, float scale,
                        float* largest);

  /// x[j][i] = x[j][i] * scale - slope * distance where 0 <= distance <= window, else kMaskedScore, with
  /// distance = first_distance + i - j; largest as above, of the result.
  void (*window_score)(int64_t keys, int64_t queries, float* x, int64_t stride, float scale, float slope,
                       int64_t first_distance, int64_t window, float* largest);

  /// x[j][i] = exp(x[j][i] * scale - shift[i]); sum[i] += that.
  void (*exponential)(int64_t keys, int64_t queries, float* x, int64_t stride, float scale,
                      const float* shift, float* sum);

  /// x[j] = exp(x[j] * scale + bias + j * bias_step - largest) for one query, where largest is raised to the
  /// greatest of the scores; denominator += the sum. Any number of keys.
  void (*softmax_row)(int64_t keys, float* x, float scale, float bias, float bias_step, float* largest,
                      float* denominator);

  /// x[i] = ln x[i] for positive x; any number of elements, a multiple of kTileColumns.
  void (*logarithm)(int64_t count, float* x);

  /// x[j][i] *= factor[i].
  void (*scale_columns)(int64_t rows, int64_t columns, float* x, int64_t stride, const float* factor);

  /// x[i][e] *= factor[i].
  void (*scale_rows)(int64_t rows, int64_t columns, float* x, int64_t stride, const float* factor);

  /// sum[i] += sum over rows j of x[j][i] * y[j][i].
  void (*column_products)(int64_t rows, int64_t columns, const float* x, const float* y, int64_t stride,
                          float* sum);

  /// products[i] = <row i of x, row i of y>, any number of columns.
  void (*paired_row_products)(int64_t rows, int64_t columns, const float* x, int64_t x_stride, const float* y,
                              int64_t y_stride, float* products);

  /// products[i] = <x, row i of y>, any number of columns: a matrix times a vector.
  void (*row_products)(int64_t rows, int64_t columns, const float* x, const float* y, int64_t y_stride,
                       float* products);
  void (*row_products_bf16)(int64_t rows, int64_t columns, const float* x, const uint16_t* y,
                            int64_t y_stride, float* products);
  void (*row_products_int8)(int64_t rows, int64_t columns, const float* x, const int8_t* y, int64_t y_stride,
                            float* products);

  /// sum[e] += weight[i] * y[i][e] over all rows i, any number of columns.
  void (*add_weighted_rows)(int64_t rows, int64_t columns, const float* weight, const float* y,
                            int64_t y_stride, float* sum);
  void (*add_weighted_rows_bf16)(int64_t rows, int64_t columns, const float* weight, const uint16_t* y,
                                 int64_t y_stride, float* sum);

  /// p[j][i] = weight[i] * p[j][i], and dp = p * (dp - delta[i]) with the new p: from probabilities and their
  /// gradients to the scores'.
  void (*score_gradient)(int64_t keys, int64_t queries, float* p, float* dp, int64_t stride,
                         const float* delta, const float* weight);

  /// Rows into or out of a tile, the same number of columns in each; strides in elements.
  void (*copy_rows)(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
                    int64_t to_stride);
  /// to[i][e] += from[i][e].
  void (*add_rows)(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
                   int64_t to_stride);
  void (*widen_bf16)(int64_t rows, int64_t columns, const uint16_t* from, int64_t from_stride, float* to,
                     int64_t to_stride);
  /// To nearest, ties to even; NaN stays NaN, and subnormal numbers may become 0.
  void (*narrow_bf16)(int64_t rows, int64_t columns, const float* from, int64_t from_stride, uint16_t* to,
                      int64_t to_stride);
};

/// The best version that this processor runs.
const TileKernels& tile_kernels();

/// All versions that this processor runs, the best last. For tests.
std::span<const TileKernels* const> runnable_tile_kernels();

}  // namespace gca::kernels
