#pragma once
// Grouped cross-attention, backward, first pass: what belongs to a query. With p the probabilities of a slot, from lse:
//
//   delta = <dO, o_k> = sum_j p_j dP_j,  dP = dO V^T        dw_k = sum of delta over the rows that read
//   dS = w_k p (dP - delta)                                 dq = scale sum_k dS K
//
// Bound by the tensor cores (three products of the tile a chunk), then by shared memory: a warp holds 16 rows
// of scores and of dP against a whole chunk in registers, so delta is known before dS is needed.
//
// dw is summed in a fixed order: lanes, then warps' parts by gca_reduce_weights_kernel.

#include "kernels/grouped_cross_attention/grouped_cross_attention_tiles.cuh"

namespace gca::cuda {

template <int kHeadDim, int kKeys>
__global__ void __launch_bounds__(256, 1)
    gca_backward_queries_kernel(const __grid_constant__ GcaBackwardQueriesParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kKeyTiles = kKeys / 8;
  constexpr int kDimTiles = kHeadDim / 8;
  constexpr int kDimSteps = kHeadDim / 16;
  constexpr int kStepsUnrolled =
      kKeys == 128 ? 1 : kDimSteps;  // loads moved far ahead would not fit the registers
  // The largest tile has no room for dP of a whole chunk beside the rest: it makes dP in two parts, twice.
  constexpr int kParts = kKeys == 128 && kHeadDim == 128 ? 2 : 1;
  constexpr int kPartTiles = kKeyTiles / kParts;
  constexpr uint32_t kChunkBytes = kKeys * Tile::kRowBytes;
  extern __shared__ __align__(128) uint8_t shared[];

  const GcaShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int threads = blockDim.x;
  const int warps = threads / 32;
  const int group = shape.heads / shape.kv_heads;
  const int tiles = (group * shape.chunk_size + warps * 16 - 1) / (warps * 16);
  const int row = blockIdx.x / tiles;
  const int tile = blockIdx.x % tiles;
  const int first_row = (tile * warps + warp) * 16;
  const int kv_head = blockIdx.y;
  const int batch = blockIdx.z;
  const ReadingRow reading(shape, row);
  const int before = reading.before;

  const uint32_t stages = shared_address(shared);  // keys and values, twice
  const uint32_t queries = stages + 4 * kChunkBytes + warp * 16 * Tile::kRowBytes;
  const uint32_t gradients = queries + warps * 16 * Tile::kRowBytes;  // dout

  const int64_t list = (int64_t{batch} * shape.rows + row) * shape.slots;
  const int my_chunk = lane < shape.slots ? p.idx[list + lane] : -1;
  const bool is_chosen = my_chunk >= 0 && my_chunk < shape.chunks;
  const float my_weight = is_chosen ? p.w[list + lane] : 0.0F;
  uint32_t slots = __ballot_sync(0xFFFFFFFF, is_chosen);

  const Bf16* k = p.k + batch * p.k_strides.batch + kv_head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + kv_head * p.v_strides.head;
  const auto copy_slot = [&](int slot, uint32_t stage) {
    const int chunk = __shfl_sync(0xFFFFFFFF, my_chunk, slot);
    copy_chunk<kHeadDim, kStepsUnrolled == 1 ? 1 : 4>(stages + stage * 2 * kChunkBytes,
                                                      k + chunk * p.k_strides.chunk, p.k_strides.key,
                                                      shape.keys, threadIdx.x, threads);
    copy_chunk<kHeadDim, kStepsUnrolled == 1 ? 1 : 4>(stages + (stage * 2 + 1) * kChunkBytes,
                                                      v + chunk * p.v_strides.chunk, p.v_strides.key,
                                                      shape.keys, threadIdx.x, threads);
  };

  zero_tail_rows<kHeadDim, kKeys>(shared, 4, shape.keys, threads);
  const auto first_of = [&](const GcaStrides& strides) {
    return batch * strides.batch + before * strides.position + kv_head * group * strides.head;
  };
  copy_rows<kHeadDim, 16>(queries, p.q + first_of(p.q_strides), lane,
                          [&](int r) { return reading.offset(first_row + r, p.q_strides); });
  copy_rows<kHeadDim, 16>(gradients, p.dout + first_of(p.dout_strides), lane,
                          [&](int r) { return reading.offset(first_row + r, p.dout_strides); });

  // Statistics of this lane's two rows; -1 for a row without a query.
  const int64_t first_stat = batch * p.lse_strides.batch + kv_head * group * p.lse_strides.head + before;
  int stat_place[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const RowPair pair = reading.pair(first_row + half * 8 + lane / 4);
    stat_place[half] = pair.head >= 0 ? pair.head * static_cast<int>(p.lse_strides.head) + pair.place : -1;
  }

  float dq[kDimTiles][4] = {};
  const uint32_t row_lane = Tile::lane_rows_first(lane);
  const uint32_t column_lane = Tile::lane_columns_first(lane);
  const float scale2 = shape.scale * kLog2e;
  const int tail = shape.keys - 2 * (lane & 3);

  int slot = __ffs(static_cast<int>(slots)) - 1;
  if (slots != 0) copy_slot(slot, 0);
  commit_copies();

  for (uint32_t stage = 0; slots != 0; stage ^= 1) {
    wait_copies<0>();
    __syncthreads();
    slots &= slots - 1;
    const int next_slot = __ffs(static_cast<int>(slots)) - 1;
    if (slots != 0) copy_slot(next_slot, stage ^ 1);
    commit_copies();
    const uint32_t keys = stages + stage * 2 * kChunkBytes;
    const uint32_t values = keys + kChunkBytes;
    const float weight = __shfl_sync(0xFFFFFFFF, my_weight, slot);
    const int64_t slot_stat = first_stat + slot * p.lse_strides.slot;
    float lse2[2];  // a row without a query: probabilities of 0
#pragma unroll
    for (int half = 0; half < 2; ++half)
      lse2[half] = stat_place[half] >= 0 ? p.lse[slot_stat + stat_place[half]] * kLog2e : INFINITY;

    // Columns [part kPartTiles * 8, ...) of left right^T.
    const auto multiply = [&](auto& product, uint32_t left, uint32_t right, int part) {
      constexpr int kTiles = sizeof(product) / sizeof(product[0]);
#pragma unroll kStepsUnrolled
      for (int step = 0; step < kDimSteps; ++step) {
        uint32_t a[4], b[4];
        load_matrices(a, left + Tile::column_step(row_lane, step));
#pragma unroll
        for (int j = 0; j < kTiles; j += 2) {
          load_matrices(
              b, right + Tile::column_step(column_lane, step) + (part * kPartTiles + j) / 2 * Tile::kRowStep);
          mma(product[j], a, b[0], b[1]);
          mma(product[j + 1], a, b[2], b[3]);
        }
      }
    };
    float scores[kKeyTiles][4] = {};
    multiply(scores, queries, keys, 0);

    const auto mask_from = [&](int first) {
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
        if (j < first) continue;
#pragma unroll
        for (int e = 0; e < 4; ++e) scores[j][e] = 8 * j + (e & 1) < tail ? scores[j][e] : -INFINITY;
      }
    };
    mask_from(kKeyTiles - 2);
    if (kKeyTiles > 2 && shape.keys <= kKeys - 16) mask_from(0);

    float dp[kPartTiles][4];
    float delta[2] = {};
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int j = 0; j < kPartTiles; ++j) dp[j][0] = dp[j][1] = dp[j][2] = dp[j][3] = 0;
      multiply(dp, gradients, values, part);
#pragma unroll
      for (int j = 0; j < kPartTiles; ++j) {
        float(&p_j)[4] = scores[part * kPartTiles + j];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          p_j[e] = exp2_fast(fmaf(p_j[e], scale2, -lse2[e / 2]));
          delta[e / 2] = fmaf(p_j[e], dp[j][e], delta[e / 2]);
        }
      }
    }
    float weighted_delta[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      delta[half] = row_sum(delta[half]);
      weighted_delta[half] = weight * delta[half];
      if ((lane & 3) == 0 && stat_place[half] >= 0) p.delta[slot_stat + stat_place[half]] = delta[half];
    }
    // The rows' deltas of this warp: its part of dw. All four lanes of a row hold the row's.
    float part = delta[0] + delta[1];
#pragma unroll
    for (int distance = 4; distance < 32; distance *= 2) part += __shfl_xor_sync(0xFFFFFFFF, part, distance);
    if (lane == 0) {
      const int64_t partial = (int64_t{kv_head} * tiles + tile) * warps + warp;
      p.dw_partial[partial * shape.batch * shape.rows * shape.slots + list + slot] = part;
    }

#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      if (kParts > 1) {
#pragma unroll
        for (int j = 0; j < kPartTiles; ++j) dp[j][0] = dp[j][1] = dp[j][2] = dp[j][3] = 0;
        multiply(dp, gradients, values, part);
      }
#pragma unroll
      for (int j = 0; j < kPartTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          dp[j][e] = scores[part * kPartTiles + j][e] * fmaf(weight, dp[j][e], -weighted_delta[e / 2]);  // dS
      }
#pragma unroll
      for (int step = 0; step < kPartTiles / 2; ++step) {
        const uint32_t a[4] = {pack_bf16(dp[2 * step][0], dp[2 * step][1]),
                               pack_bf16(dp[2 * step][2], dp[2 * step][3]),
                               pack_bf16(dp[2 * step + 1][0], dp[2 * step + 1][1]),
                               pack_bf16(dp[2 * step + 1][2], dp[2 * step + 1][3])};
#pragma unroll
        for (int j = 0; j < kDimTiles; j += 2) {
          uint32_t b[4];
          load_matrices_transposed(
              b, keys + Tile::column_step(row_lane, j / 2) + (part * kPartTiles / 2 + step) * Tile::kRowStep);
          mma(dq[j], a, b[0], b[1]);
          mma(dq[j + 1], a, b[2], b[3]);
        }
      }
    }
    slot = next_slot;
  }

  wait_copies<0>();
  __syncwarp();
  store_rows<kHeadDim>(dq, shape.scale, shape.scale, queries, p.dq + first_of(p.dq_strides), lane,
                       [&](int r) { return reading.offset(first_row + r, p.dq_strides); });
}

/// One thread a list entry.
__global__ void __launch_bounds__(128)
    gca_reduce_weights_kernel(const __grid_constant__ GcaReduceWeightsParams p) {
  const int64_t entry = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (entry >= p.size) return;
  const int chunk = p.idx[entry];
  float sum = 0;
  if (chunk >= 0 && chunk < p.chunks) {
    for (int i = 0; i < p.partials; ++i) sum += p.dw_partial[i * p.size + entry];
  }
  p.dw[entry] = sum;
}

}  // namespace gca::cuda
