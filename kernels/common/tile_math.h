#pragma once
// One vocabulary for fused kernels whose tiles are float or bf16: TileMath<float> and TileMath<uint16_t> take
// the same steps, so that a kernel is written once.
//
//   float      operands are used where they lie: a transposed left operand is a matter of strides
//   uint16_t   bf16 bits: operands are packed into pairs first (bf16_tile_kernels.h); probabilities and score
//              gradients are rounded to bf16 on their way into a product, as operands of products are
//
// A tile of rows (queries, keys, values) has its rows `stride` elements apart, a multiple of kTileColumns. A
// score tile is float, a row a key and a column a query. Where an operand needs memory of its own, the caller
// gives scratch: operand_size(rows, columns) elements.

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/tile_kernels.h"
#include "kernels/common/tile_operand.h"

namespace gca::kernels {

constexpr int64_t operand_size(int64_t rows, int64_t columns) {
  return padded_columns(rows) * padded_columns(columns);
}

/// Element l of row i at data[i * row + l * column].
template <typename Element>
struct LeftOperand {
  const Element* data;
  int64_t row, column;

  LeftOperand from(int64_t first_row, int64_t first_column) const {
    return {data + first_row * row + first_column * column, row, column};
  }
};

/// Some keys and queries of a score tile; the first of each is a multiple of kTileColumns, queries are
/// padded.
struct ScoreBlock {
  int64_t first_key, keys;
  int64_t first_query, queries;

  int64_t offset(int64_t stride) const { return first_key * stride + first_query; }
};

/// A score tile and the gradients of its probabilities on their way to operands, all with one stride.
template <typename Element>
struct ScoreGradientTiles {
  int64_t stride;
  float* p;           ///< scores, then probabilities
  float* dp;          ///< <dO, v>
  Element* weighted;  ///< w p, left operand (keys x queries)
  Element* ds;        ///< dS, left operand (keys x queries)
  Element* ds_right;  ///< dS, right operand of depth keys
};

/// Scale, bias and mask of sliding-window scores: s = x * scale - slope * distance for
/// 0 <= distance <= window, distance = first_distance + query - key.
struct WindowBias {
  float scale, slope;
  int64_t first_distance, window;
};

template <typename Element>
class TileMath;

template <>
class TileMath<float> {
 public:
  using Element = float;

  /// Columns that a product takes at once; fewer cost as much.
  int64_t block_columns() const { return kernels_.product_columns; }
  /// Rows to ask of a product of `rows` rows: those beyond may be cheaper to compute than to leave out. Operands and results
  /// have room for them.
  static constexpr int64_t whole_rows(int64_t rows) { return rows; }
  /// To be held by a thread that takes products (ProductScope).
  static FlushSubnormals products() { return {}; }

  template <typename Source>
  void load_rows(int64_t rows, int64_t columns, const Source* first, int64_t row_step, float* tile,
                 int64_t stride) const {
    load_tile(kernels_, rows, columns, first, row_step, tile, stride);
  }

  /// Rows of a tensor as left operand, loaded into `tile`.
  template <typename Source>
  LeftOperand<float> rows_left(int64_t rows, int64_t columns, const Source* first, int64_t row_step,
                               float* tile, int64_t stride) const {
    load_rows(rows, columns, first, row_step, tile, stride);
    return left(tile, stride);
  }
  LeftOperand<float> left(const float* tile, int64_t stride) const { return {tile, stride, 1}; }
  /// The transpose of a (rows x columns) left operand.
  LeftOperand<float> left_transposed(int64_t, int64_t, const LeftOperand<float>& operand, float*) const {
    return {operand.data, operand.column, operand.row};
  }
  /// The same, of what was packed before.
  LeftOperand<float> left_transposed_place(int64_t, const LeftOperand<float>& operand, float*) const {
    return {operand.data, operand.column, operand.row};
  }
  /// Right operands: the tile (depth its rows, its stride), and the transposed tile (depth its columns,
  /// stride padded_columns(rows)).
  const float* right(int64_t, int64_t, const float* tile, int64_t, float*) const { return tile; }
  const float* right_transposed(int64_t rows, int64_t columns, const float* tile, int64_t stride,
                                float* scratch) const {
    kernels_.transpose(rows, columns, tile, stride, scratch, padded_columns(rows));
    return scratch;
  }
  /// A right operand from depth `depth` (even) and column `column` on.
  static const float* right_from(const float* right, int64_t stride, int64_t depth, int64_t column) {
    return right + depth * stride + column;
  }

  /// c = or += a right; with a factor on each column where `factor` is not null.
  void product(int64_t rows, int64_t columns, int64_t depth, const LeftOperand<float>& a, const float* right,
               int64_t right_stride, float* c, int64_t c_stride, bool add,
               const float* factor = nullptr) const {
    kernels_.product(rows, columns, depth, a.data, a.row, a.column, right, right_stride, c, c_stride, add,
                     factor);
  }

  /// p = exp(x * scale - shift[i]) as right operand of depth keys, in the place of `right` that belongs to
  /// the block; sum[i] += p. The score tile may be overwritten.
  void probabilities(const ScoreBlock& block, float* x, int64_t stride, float scale, const float* shift,
                     float* sum, float*) const {
    kernels_.exponential(block.keys, block.queries, x + block.offset(stride), stride, scale,
                         shift + block.first_query, sum + block.first_query);
  }
  static const float* probabilities_operand(const float* x, const float*) { return x; }

  /// Elements of scratch that gradient_tiles() needs.
  static constexpr int64_t gradient_scratch_size(int64_t, int64_t) { return 0; }
  static ScoreGradientTiles<float> gradient_tiles(int64_t, float* p, float* dp, int64_t stride, float*) {
    return {stride, p, dp, p, dp, dp};
  }

  /// p becomes exp(p * scale - shift[i]); sum[i] += that; delta[i] += p dp.
  void rebuild_probabilities(int64_t keys, int64_t queries, const ScoreGradientTiles<float>& tiles,
                             float scale, const float* shift, float* sum, float* delta) const {
    kernels_.exponential(keys, queries, tiles.p, tiles.stride, scale, shift, sum);
    kernels_.column_products(keys, queries, tiles.p, tiles.dp, tiles.stride, delta);
  }
  /// The operands from p and dp: weight[i] p and weight[i] p (dp - delta[i]).
  void score_gradient(int64_t keys, int64_t queries, const ScoreGradientTiles<float>& tiles,
                      const float* delta, const float* weight) const {
    kernels_.score_gradient(keys, queries, tiles.p, tiles.dp, tiles.stride, delta, weight);
  }
  /// The operands from scores x in p: with p = exp(s - lse[i]), p and p (dp - delta[i]).
  void window_score_gradient(const ScoreBlock& block, const ScoreGradientTiles<float>& tiles,
                             const WindowBias& bias, const float* lse, const float* delta) const {
    const int64_t offset = block.offset(tiles.stride), i = block.first_query;
    float unused[kMostQueries] = {};
    float one[kMostQueries];
    std::fill_n(one, block.queries, 1.0F);
    float* p = tiles.p + offset;
    kernels_.window_score(block.keys, block.queries, p, tiles.stride, bias.scale, bias.slope,
                          bias.first_distance + i - block.first_key, bias.window, unused);
    kernels_.exponential(block.keys, block.queries, p, tiles.stride, 1.0F, lse + i, unused);
    kernels_.score_gradient(block.keys, block.queries, p, tiles.dp + offset, tiles.stride, delta + i, one);
  }

  /// Queries of a tile of window attention, at most.
  static constexpr int64_t kMostQueries = 64;

 private:
  const TileKernels& kernels_ = tile_kernels();
};

template <>
class TileMath<uint16_t> {
 public:
  using Element = uint16_t;

  explicit TileMath(const Bf16TileKernels& kernels) : kernels_(kernels) {}

  static constexpr int64_t block_columns() { return kTileColumns; }
  static constexpr int64_t whole_rows(int64_t rows) { return padded_columns(rows); }
  ProductScope products() const { return ProductScope(kernels_); }

  void load_rows(int64_t rows, int64_t columns, const at::BFloat16* first, int64_t row_step, uint16_t* tile,
                 int64_t stride) const {
    kernels_.left_from_rows(rows, columns, reinterpret_cast<const uint16_t*>(first), row_step, tile, stride);
  }

  /// Loaded into `tile`, too: in place, a head's rows stand a whole position apart, share few sets of the
  /// first-level cache and drive the other operands out of it.
  LeftOperand<uint16_t> rows_left(int64_t rows, int64_t columns, const at::BFloat16* first, int64_t row_step,
                                  uint16_t* tile, int64_t stride) const {
    load_rows(rows, columns, first, row_step, tile, stride);
    return left(tile, stride);
  }
  LeftOperand<uint16_t> left(const uint16_t* tile, int64_t stride) const { return {tile, stride, 1}; }
  LeftOperand<uint16_t> left_transposed(int64_t rows, int64_t columns, const LeftOperand<uint16_t>& operand,
                                        uint16_t* scratch) const {
    kernels_.left_from_columns(rows, columns, operand.data, operand.row, scratch, padded_columns(rows));
    return {scratch, padded_columns(rows), 1};
  }
  LeftOperand<uint16_t> left_transposed_place(int64_t rows, const LeftOperand<uint16_t>&,
                                              uint16_t* packed) const {
    return {packed, padded_columns(rows), 1};
  }
  const uint16_t* right(int64_t rows, int64_t columns, const uint16_t* tile, int64_t stride,
                        uint16_t* scratch) const {
    kernels_.right_from_rows(rows, columns, tile, stride, scratch, stride);
    return scratch;
  }
  const uint16_t* right_transposed(int64_t rows, int64_t columns, const uint16_t* tile, int64_t stride,
                                   uint16_t* scratch) const {
    kernels_.right_from_columns(rows, columns, tile, stride, scratch, padded_columns(rows));
    return scratch;
  }
  static const uint16_t* right_from(const uint16_t* right, int64_t stride, int64_t depth, int64_t column) {
    return right + depth * stride + 2 * column;
  }

  void product(int64_t rows, int64_t columns, int64_t depth, const LeftOperand<uint16_t>& a,
               const uint16_t* right, int64_t right_stride, float* c, int64_t c_stride, bool add,
               const float* factor = nullptr) const {
    const ProductSegment segment{a.data, a.row, right, right_stride, depth};
    kernels_.product(rows, columns, {&segment, 1},
                     {.sums = c, .stride = c_stride, .add = add, .factor = factor});
  }

  void probabilities(const ScoreBlock& block, float* x, int64_t stride, float scale, const float* shift,
                     float* sum, uint16_t* right) const {
    kernels_.exponential_right(block.keys, block.queries, x + block.offset(stride), stride, scale,
                               shift + block.first_query, sum + block.first_query,
                               right + right_offset(block, stride));
  }
  static const uint16_t* probabilities_operand(const float*, const uint16_t* right) { return right; }

  static constexpr int64_t gradient_scratch_size(int64_t keys, int64_t queries) {
    return 3 * operand_size(keys, queries);
  }
  static ScoreGradientTiles<uint16_t> gradient_tiles(int64_t keys, float* p, float* dp, int64_t stride,
                                                     uint16_t* scratch) {
    const int64_t size = operand_size(keys, stride);
    return {stride, p, dp, scratch, scratch + size, scratch + 2 * size};
  }

  void rebuild_probabilities(int64_t keys, int64_t queries, const ScoreGradientTiles<uint16_t>& tiles,
                             float scale, const float* shift, float* sum, float* delta) const {
    kernels_.exponential_and_product(keys, queries, tiles.p, tiles.dp, tiles.stride, scale, shift, sum,
                                     delta);
  }
  void score_gradient(int64_t keys, int64_t queries, const ScoreGradientTiles<uint16_t>& tiles,
                      const float* delta, const float* weight) const {
    kernels_.score_gradient(keys, queries, tiles.p, tiles.dp, tiles.stride, delta, weight, tiles.weighted,
                            tiles.ds, tiles.ds_right);
  }
  void window_score_gradient(const ScoreBlock& block, const ScoreGradientTiles<uint16_t>& tiles,
                             const WindowBias& bias, const float* lse, const float* delta) const {
    const int64_t offset = block.offset(tiles.stride), i = block.first_query;
    kernels_.window_score_gradient(
        block.keys, block.queries, tiles.p + offset, tiles.dp + offset, tiles.stride, bias.scale, bias.slope,
        bias.first_distance + i - block.first_key, bias.window, lse + i, delta + i, tiles.weighted + offset,
        tiles.ds + offset, tiles.ds_right + right_offset(block, tiles.stride));
  }

 private:
  static int64_t right_offset(const ScoreBlock& block, int64_t stride) {
    return block.first_key * stride + 2 * block.first_query;
  }

  const Bf16TileKernels& kernels_;
};

/// Calls `body(source, math)` with a value of the element type of `tensor` (float or at::BFloat16) and the
/// tile arithmetic for it: bf16 tiles where the processor multiplies bf16, else floats.
template <typename Body>
void with_tile_math(const at::Tensor& tensor, Body body) {
  if (tensor.scalar_type() != at::kBFloat16) {
    body(float{}, TileMath<float>());
  } else if (const Bf16TileKernels* kernels = bf16_tile_kernels()) {
    body(at::BFloat16{}, TileMath<uint16_t>(*kernels));
  } else {
    body(at::BFloat16{}, TileMath<float>());
  }
}

}  // namespace gca::kernels
