#pragma once
// One query against a tile of keys and values in shared memory, by one warp: decoding. Bound by the memory
// that brings the tile; plain multiply-adds are enough.

#include "kernels/common/cuda/row_tiles.cuh"
#include "kernels/common/cuda/vector_memory.cuh"

namespace gca::cuda {

/// Two products of bfloat16 pairs, added to `sum`.
__device__ __forceinline__ float dot2(uint32_t a, uint32_t b, float sum) {
  return fmaf(bf16_high(a), bf16_high(b), fmaf(bf16_low(a), bf16_low(b), sum));
}

/// What a warp knows of a tile: maximum and sum of the probabilities (powers of 2), and their sum over the
/// values, not yet divided.
template <int kHeadDim>
struct SingleQuery {
  static constexpr int kColumns = kHeadDim / 32;  // of out, a lane: kColumns * lane ...
  float largest2 = -INFINITY;
  float sum = 0;
  float out[kColumns] = {};
};

/// `query` the row in global memory; `score2(key, q . k)` its score times log2 e; `start` the least that the
/// maximum may be. `passage`: kKeys floats of shared memory that are the warp's own.
template <int kHeadDim, int kKeys, class Score>
__device__ __forceinline__ SingleQuery<kHeadDim> attend_single(const Bf16* query, uint32_t keys,
                                                               uint32_t values, int count, float start,
                                                               float* passage, int lane, Score score2) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kKeysALane = (kKeys + 31) / 32;
  SingleQuery<kHeadDim> result;
  float scores[kKeysALane] = {};
#pragma unroll
  for (int unit = 0; unit < Tile::kUnits; ++unit) {
    const uint4 q = *reinterpret_cast<const uint4*>(query + unit * 8);
#pragma unroll
    for (int i = 0; i < kKeysALane; ++i) {
      if (i * 32 + lane >= count) continue;
      const uint4 k = load_shared(keys + Tile::offset(i * 32 + lane, unit));
      scores[i] = dot2(q.x, k.x, dot2(q.y, k.y, dot2(q.z, k.z, dot2(q.w, k.w, scores[i]))));
    }
  }
  float largest = start;
#pragma unroll
  for (int i = 0; i < kKeysALane; ++i) {
    scores[i] = i * 32 + lane < count ? score2(i * 32 + lane, scores[i]) : -INFINITY;
    largest = fmaxf(largest, scores[i]);
  }
  result.largest2 = warp_max(largest);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kKeysALane; ++i) {
    const float p = exp2_fast(scores[i] - result.largest2);
    if (i * 32 + lane < count) passage[i * 32 + lane] = p;
    sum += p;
  }
  result.sum = warp_sum(sum);
  __syncwarp();
  constexpr int kColumns = SingleQuery<kHeadDim>::kColumns;
  const uint32_t unit = lane * kColumns / 8;
  const uint32_t within = lane * kColumns % 8 * 2;
  for (int j = 0; j < count; ++j) {
    const float p = passage[j];
    const uint32_t from = values + Tile::offset(j, unit) + within;
    if constexpr (kColumns == 1) {
      uint16_t v;
      asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(from) : "memory");
      result.out[0] = fmaf(p, __uint_as_float(static_cast<uint32_t>(v) << 16), result.out[0]);
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; c += 2) {
        uint32_t v;
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from + c * 2) : "memory");
        result.out[c] = fmaf(p, bf16_low(v), result.out[c]);
        result.out[c + 1] = fmaf(p, bf16_high(v), result.out[c + 1]);
      }
    }
  }
  return result;
}

}  // namespace gca::cuda
