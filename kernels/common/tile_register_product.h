#pragma once
// The product of bf16 tiles by tile registers (Intel AMX), c = the sum of left_t right_t over the segments t.
//
// Bound by the multiply units: a block of 32 x 32 results is four registers that take four multiplications a
// step of 32 along the depth, for two loads of the left and two of the right operand. Operands are read where
// they lie (bf16_tile_kernels.h): rows of left are rows of a register, pair l of right is row l of one.
// Versions, by shape:
//
//   last rows      fewer than 32: a configuration of the registers with so many rows
//   last depth     fewer than 32: both operands are copied into memory filled up with zeros
//   floats         stored by the registers; `add` begins with what stands there
//   bf16, factor   through 1 KiB of memory a register
//
// Configuring costs as much as eight multiplications, so callers with many small products do it once:
// begin_products().

#include "kernels/common/bf16_rows.h"
#include "kernels/common/bf16_tile_kernels.h"
#include "kernels/common/tile_registers.h"

namespace gca::kernels {
namespace {

// Registers of a block: sums 0 to 3 (row by row), left operands 4 and 5, right operands 6 and 7.
constexpr int sum_register(int row, int column) {
  return 2 * row + column;
}
constexpr int left_register(int row) {
  return 4 + row;
}
constexpr int right_register(int column) {
  return 6 + column;
}

/// For blocks of `rows` rows, at most 32.
inline TileConfiguration configuration_for(int64_t rows) {
  TileConfiguration configuration;
  for (int tile = 0; tile < kTileRegisterCount; ++tile) {
    configuration.row_bytes[tile] = kTileRowBytes;
    configuration.rows[tile] = kTileRows;
  }
  const auto set_rows = [&](int row, int64_t count) {
    for (const int tile : {left_register(row), sum_register(row, 0), sum_register(row, 1)})
      configuration.rows[tile] = static_cast<uint8_t>(count);
  };
  if (rows < kTileRows) set_rows(0, rows);
  if (rows > kTileRows) set_rows(1, rows - kTileRows);
  return configuration;
}

/// The rows that this thread's registers are configured for; 0: not configured.
inline int64_t& configured_rows() {
  thread_local int64_t rows = 0;
  return rows;
}

inline void configure_for(int64_t rows) {
  if (configured_rows() == rows) return;
  static const TileConfiguration kWhole = configuration_for(2 * kTileRows);
  TileRegisters::configure(rows == 2 * kTileRows ? kWhole : configuration_for(rows));
  configured_rows() = rows;
}

void begin_products() {
  configured_rows() = 0;  // other code may have configured the registers since
  configure_for(2 * kTileRows);
}

void end_products() {
  TileRegisters::release();
  configured_rows() = 0;
}

/// Where a block of the result stands, and how many rows it has.
struct TileBlock {
  int64_t row, column, rows;
};

template <int kRows, int kColumns>
inline void multiply_add_step() {
  TileRegisters::multiply_add<sum_register(0, 0), left_register(0), right_register(0)>();
  if constexpr (kColumns == 2)
    TileRegisters::multiply_add<sum_register(0, 1), left_register(0), right_register(1)>();
  if constexpr (kRows == 2)
    TileRegisters::multiply_add<sum_register(1, 0), left_register(1), right_register(0)>();
  if constexpr (kRows == 2 && kColumns == 2)
    TileRegisters::multiply_add<sum_register(1, 1), left_register(1), right_register(1)>();
}

template <int kRows, int kColumns>
inline void load_step(const uint16_t* left, int64_t left_bytes, const uint16_t* right, int64_t right_bytes) {
  TileRegisters::load<right_register(0)>(right, right_bytes);
  TileRegisters::load<left_register(0)>(left, left_bytes);
  if constexpr (kColumns == 2) TileRegisters::load<right_register(1)>(right + 2 * kTileWords, right_bytes);
  if constexpr (kRows == 2)
    TileRegisters::load<left_register(1)>(left + kTileRows * left_bytes / 2, left_bytes);
}

/// The last step of a depth that is not a multiple of 32: `depth` elements, an even number.
template <int kRows, int kColumns>
inline void add_last_step(int64_t rows, int64_t depth, const uint16_t* left, int64_t left_stride,
                          const uint16_t* right, int64_t right_stride) {
  alignas(64) uint16_t left_copy[2 * kTileRows * kTileDepth] = {};
  alignas(64) uint16_t right_copy[kTileDepth * 2 * kTileWords] = {};
  for (int64_t i = 0; i < rows; ++i)
    std::memcpy(left_copy + i * kTileDepth, left + i * left_stride, static_cast<size_t>(depth) * 2);
  for (int64_t l = 0; l < depth / 2; ++l)
    std::memcpy(right_copy + l * 4 * kTileWords, right + 2 * l * right_stride,
                size_t{4} * kColumns * kTileWords);
  load_step<kRows, kColumns>(left_copy, 2 * kTileDepth, right_copy, 8 * kTileWords);
  multiply_add_step<kRows, kColumns>();
}

/// Calls `body<register>(row, column)` for each register of sums; its first row and column in elements of the
/// block.
template <int kRows, int kColumns, typename Body>
inline void for_each_sum(Body body) {
  body.template operator()<sum_register(0, 0)>(0, 0);
  if constexpr (kColumns == 2) body.template operator()<sum_register(0, 1)>(0, kTileWords);
  if constexpr (kRows == 2) body.template operator()<sum_register(1, 0)>(kTileRows, 0);
  if constexpr (kRows == 2 && kColumns == 2)
    body.template operator()<sum_register(1, 1)>(kTileRows, kTileWords);
}

/// Sums to bf16, or to floats with a factor.
template <int kRows, int kColumns>
inline void store_through_memory(const ProductTarget& to, const TileBlock& block) {
  constexpr int64_t kColumnCount = kColumns * kTileWords, kStride = 2 * kTileWords;
  alignas(64) float sums[2 * kTileRows * kStride];
  for_each_sum<kRows, kColumns>([&]<int kTile>(int64_t row, int64_t column) {
    TileRegisters::store<kTile>(sums + row * kStride + column, kStride * 4);
  });
  const int64_t place = block.row * to.stride + block.column;
  if (to.rounded != nullptr)
    return round_rows(block.rows, kColumnCount, sums, kStride, to.rounded + place, to.stride);
  for (int64_t i = 0; i < block.rows; ++i) {
    for (int64_t e = 0; e < kColumnCount; e += kLanes) {
      float* c = to.sums + place + i * to.stride + e;
      store(c, multiply_add(load(sums + i * kStride + e), load(to.factor + block.column + e), load(c)));
    }
  }
}

template <int kRows, int kColumns>
inline void register_block(std::span<const ProductSegment> segments, const ProductTarget& to,
                           const TileBlock& block) {
  const bool in_place = to.rounded == nullptr && to.factor == nullptr;
  float* target = in_place ? to.sums + block.row * to.stride + block.column : nullptr;
  for_each_sum<kRows, kColumns>([&]<int kTile>(int64_t row, int64_t column) {
    if (in_place && to.add) {
      TileRegisters::load<kTile>(target + row * to.stride + column, to.stride * 4);
    } else {
      TileRegisters::clear<kTile>();
    }
  });
  for (const ProductSegment& segment : segments) {
    const int64_t depth = paired_depth(segment.depth);
    const uint16_t* left = segment.left + block.row * segment.left_stride;
    const uint16_t* right = segment.right + 2 * block.column;
    int64_t l = 0;
    for (; l + kTileDepth <= depth; l += kTileDepth) {
      load_step<kRows, kColumns>(left + l, segment.left_stride * 2, right + l * segment.right_stride,
                                 segment.right_stride * 4);
      multiply_add_step<kRows, kColumns>();
    }
    if (l < depth)
      add_last_step<kRows, kColumns>(block.rows, depth - l, left + l, segment.left_stride,
                                     right + l * segment.right_stride, segment.right_stride);
  }
  if (in_place) {
    for_each_sum<kRows, kColumns>([&]<int kTile>(int64_t row, int64_t column) {
      TileRegisters::store<kTile>(target + row * to.stride + column, to.stride * 4);
    });
  } else {
    store_through_memory<kRows, kColumns>(to, block);
  }
}

/// All columns of `rows` rows.
template <int kRows>
inline void register_rows(int64_t row, int64_t rows, int64_t columns,
                          std::span<const ProductSegment> segments, const ProductTarget& to) {
  int64_t column = 0;
  for (; column + 2 * kTileWords <= columns; column += 2 * kTileWords)
    register_block<kRows, 2>(segments, to, {row, column, rows});
  if (column < columns) register_block<kRows, 1>(segments, to, {row, column, rows});
}

void register_product(int64_t rows, int64_t columns, std::span<const ProductSegment> segments,
                      const ProductTarget& target) {
  const bool begun = configured_rows() != 0;
  if (!begun) begin_products();
  int64_t row = 0;
  for (; row + 2 * kTileRows <= rows; row += 2 * kTileRows)
    register_rows<2>(row, 2 * kTileRows, columns, segments, target);
  if (const int64_t rest = rows - row; rest > 0) {
    if (rest % kTileRows != 0) configure_for(rest);
    if (rest > kTileRows) {
      register_rows<2>(row, rest, columns, segments, target);
    } else {
      register_rows<1>(row, rest, columns, segments, target);
    }
  }
  if (begun) {
    configure_for(2 * kTileRows);
  } else {
    end_products();
  }
}

}  // namespace
}  // namespace gca::kernels
