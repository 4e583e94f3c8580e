#pragma once
// Tiles of bfloat16 rows in shared memory. A row is kColumns elements in units of 16 bytes; unit u of row r
// lies at place u ^ (r mod 8) (for rows of 128 bytes and more; narrower rows are folded two or four to a line
// of 128 bytes), so that the eight rows of an 8 x 8 matrix, and the eight units of a row, lie in different
// banks.

#include <cstdint>

#include "kernels/common/cuda/tensor_core.cuh"

namespace gca::cuda {

template <int kColumns>
struct SharedTile {
  static constexpr int kUnits = kColumns / 8;  // of 16 bytes, in a row
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr int kFold = kUnits >= 8 ? 1 : 8 / kUnits;  // rows in a line of 128 bytes
  static constexpr int kUnitMask = kUnits >= 8 ? 7 : kUnits - 1;

  /// Byte offset of unit `unit` of row `row`.
  static __device__ __forceinline__ uint32_t offset(uint32_t row, uint32_t unit) {
    return row * kRowBytes + ((unit ^ (row / kFold & kUnitMask)) << 4);
  }

  // Offsets for ldmatrix at 16 x 16 blocks. Moving on by 16 columns is an exclusive or with 32 bytes
  // (`column_step`), by 16 rows the addition of 16 rows: rows 16 apart are folded alike.
  static constexpr uint32_t kRowStep = 16 * kRowBytes;
  static __device__ __forceinline__ uint32_t column_step(uint32_t lane_offset, uint32_t block) {
    // Within a line of 128 bytes by exclusive or, from line to line by addition.
    return (lane_offset ^ ((block * 32) & (kUnitMask * 16))) +
           (block * 32 & ~uint32_t{127} & (kRowBytes - 1));
  }
  /// A operand, or B operand of a product that sums over rows (transposed load): rows by lane % 16.
  static __device__ __forceinline__ uint32_t lane_rows_first(uint32_t lane) {
    return offset(lane & 15, lane >> 4);
  }
  /// B operand of a product that sums over columns: the second and third matrix swapped.
  static __device__ __forceinline__ uint32_t lane_columns_first(uint32_t lane) {
    return offset((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
  }
};

}  // namespace gca::cuda
