#pragma once
// Rows of queries between global memory, shared tiles and accumulators. Where a row lies is the caller's to
// say: a function from the tile's row to the elements between a base and the row, negative where there is no
// row.

#include "kernels/common/cuda/launch_shape.h"
#include "kernels/common/cuda/shared_tile.cuh"
#include "kernels/common/cuda/tensor_core.cuh"

namespace gca::cuda {

__device__ __forceinline__ void store_shared(uint32_t address, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
__device__ __forceinline__ uint4 load_shared(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

/// 16 bytes in one piece: nvcc takes a plain store of registers that come out of inline assembly apart.
__device__ __forceinline__ void store_global(void* to, uint4 value) {
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(to), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

__device__ __forceinline__ void store_global(float* to, float value) {
  asm volatile("st.global.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}

/// Starts copies of `kRows` rows by one warp; rows that are not there become 0.
template <int kHeadDim, int kRows, class Offset>
__device__ __forceinline__ void copy_rows(uint32_t tile, const Bf16* base, int lane, Offset offset_of) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kRowsAStep = 32 / Tile::kUnits;
  const int unit = lane % Tile::kUnits;
#pragma unroll
  for (int i = 0; i < kRows / kRowsAStep; ++i) {
    const int row = i * kRowsAStep + lane / Tile::kUnits;
    const int offset = offset_of(row);
    const uint32_t to = tile + Tile::offset(row, unit);
    if (offset >= 0) {
      copy_async(to, base + offset + unit * 8);
    } else {
      store_shared(to, uint4{0, 0, 0, 0});
    }
  }
}

/// Rounds an accumulator of 16 rows, times a factor for this lane's upper and lower row, and stores the rows;
/// through shared memory that is the warp's own, so that rows leave in one piece. The warp has synchronised
/// since its lanes last read there.
template <int kHeadDim, class Offset>
__device__ __forceinline__ void store_rows(const float (&values)[kHeadDim / 8][4], float upper, float lower,
                                           uint32_t passage, Bf16* base, int lane, Offset offset_of) {
  using Tile = SharedTile<kHeadDim>;
#pragma unroll
  for (int j = 0; j < kHeadDim / 8; ++j) {
    const uint32_t place = (lane & 3) * 4;
    store_shared(passage + Tile::offset(lane / 4, j) + place,
                 pack_bf16(values[j][0] * upper, values[j][1] * upper));
    store_shared(passage + Tile::offset(lane / 4 + 8, j) + place,
                 pack_bf16(values[j][2] * lower, values[j][3] * lower));
  }
  __syncwarp();
  constexpr int kRowsAStep = 32 / Tile::kUnits;
  const int unit = lane % Tile::kUnits;
#pragma unroll
  for (int i = 0; i < 16 / kRowsAStep; ++i) {
    const int row = i * kRowsAStep + lane / Tile::kUnits;
    const int offset = offset_of(row);
    if (offset >= 0) store_global(base + offset + unit * 8, load_shared(passage + Tile::offset(row, unit)));
  }
}

}  // namespace gca::cuda
