#pragma once
// Sliding-window attention, forward:
//
//   s_ij = q_i . k_j * scale - slope (i - j)  for 0 <= i - j <= W        out_i = softmax_j(s_ij) v_j
//
// Bound by the tensor cores: two products of a tile of 64 keys; a warp leaves out tiles that none of its rows
// sees, so of W / 64 + 1 tiles (W = 512) one in nine is in vain. Running maximum and sum as in
// FlashAttention-2; masks only where a tile meets the edge of the window. Keys and values come two stages
// ahead by asynchronous copies.
//
// Versions
//   1  mma.sync, 32 rows a warp (16 with head size 128), one barrier a tile (here)

#include "kernels/sliding_window_attention/sliding_window_attention_tiles.cuh"

namespace gca::cuda {

template <int kHeadDim>
__global__ void __launch_bounds__(kHeadDim == 128 ? 256 : 128)
    window_forward_kernel(const __grid_constant__ WindowForwardParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kThreads = kHeadDim == 128 ? 256 : 128;
  constexpr int kRowTiles = kWindowForwardQueries / (kThreads / 32) / 16;
  constexpr int kWarpRows = 16 * kRowTiles;
  constexpr int kKeyTiles = kWindowKeys / 8;
  constexpr int kDimTiles = kHeadDim / 8;
  constexpr uint32_t kTileBytes = kWindowKeys * Tile::kRowBytes;
  extern __shared__ __align__(128) uint8_t shared[];

  const WindowShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int head = blockIdx.y;
  const int batch = blockIdx.z;
  // Heavy blocks first: all but the first few have equal work.
  const int first_query = blockIdx.x * kWindowForwardQueries;
  const int keys_end = shape.past + shape.positions;
  const uint32_t stages = shared_address(shared);
  const uint32_t queries = stages + 4 * kTileBytes + warp * kWarpRows * Tile::kRowBytes;

  const int warp_query = first_query + warp * kWarpRows;
  const Bf16* q =
      p.q + batch * p.q_strides.batch + head * p.q_strides.head + warp_query * p.q_strides.position;
  copy_rows<kHeadDim, kWarpRows>(queries, q, lane, [&](int r) {
    return warp_query + r < shape.positions ? r * static_cast<int>(p.q_strides.position) : -1;
  });

  // Tiles of keys of the block, and of this warp. Key j of query i: past + i is its own.
  const int block_first_key = max(0, shape.past + first_query - shape.window);
  const int block_last_key = min(keys_end, shape.past + first_query + kWindowForwardQueries) - 1;
  const int first_tile = block_first_key / kWindowKeys;
  const int last_tile = block_last_key / kWindowKeys;
  const int own = shape.past + warp_query;  // key of the warp's first row

  const Bf16* k = p.k + batch * p.k_strides.batch + head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + head * p.v_strides.head;
  const auto copy_tile = [&](int tile, uint32_t stage) {
    copy_positions<kHeadDim, kWindowKeys, kThreads>(stages + stage * 2 * kTileBytes, k, p.k_strides.position,
                                                    tile * kWindowKeys, keys_end);
    copy_positions<kHeadDim, kWindowKeys, kThreads>(stages + (stage * 2 + 1) * kTileBytes, v,
                                                    p.v_strides.position, tile * kWindowKeys, keys_end);
  };

  float out[kRowTiles][kDimTiles][4] = {};
  float largest[kRowTiles][2], sum[kRowTiles][2];
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    largest[m][0] = largest[m][1] = -INFINITY;
    sum[m][0] = sum[m][1] = 0;
  }
  const uint32_t row_lane = Tile::lane_rows_first(lane);
  const uint32_t column_lane = Tile::lane_columns_first(lane);
  const float scale2 = shape.scale * kLog2e;
  const float slope2 = p.slopes[head] * kLog2e;

  copy_tile(first_tile, 0);
  commit_copies();
  for (int tile = first_tile; tile <= last_tile; ++tile) {
    const uint32_t stage = (tile - first_tile) & 1;
    wait_copies<0>();
    __syncthreads();
    if (tile < last_tile) copy_tile(tile + 1, stage ^ 1);
    commit_copies();
    const int first_key = tile * kWindowKeys;
    // Seen by some row of the warp?
    if (first_key > own + kWarpRows - 1 || first_key + kWindowKeys - 1 < own - shape.window) continue;
    const uint32_t keys = stages + stage * 2 * kTileBytes;
    const uint32_t values = keys + kTileBytes;

    float scores[kRowTiles][kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
        load_matrices(a[m], queries + Tile::column_step(row_lane, step) + m * Tile::kRowStep);
#pragma unroll
      for (int j = 0; j < kKeyTiles; j += 2) {
        uint32_t b[4];
        load_matrices(b, keys + Tile::column_step(column_lane, step) + j / 2 * Tile::kRowStep);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma(scores[m][j], a[m], b[0], b[1]);
          mma(scores[m][j + 1], a[m], b[2], b[3]);
        }
      }
    }

    // The key's part of the bias, from the warp's first row on.
    const float first_bias = slope2 * static_cast<float>(first_key - own + 2 * (lane & 3));
#pragma unroll
    for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float bias = fmaf(slope2, static_cast<float>(8 * j + e), first_bias);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          scores[m][j][e] = fmaf(scores[m][j][e], scale2, bias);
          scores[m][j][e + 2] = fmaf(scores[m][j][e + 2], scale2, bias);
        }
      }
    }

    const bool meets_diagonal = first_key + kWindowKeys - 1 > own;
    const bool meets_edge = first_key < own + kWarpRows - 1 - shape.window;
    if (meets_diagonal || meets_edge) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            // i - j; within the window as an unsigned comparison.
            const int distance =
                own + m * 16 + (e / 2) * 8 + lane / 4 - first_key - 8 * j - 2 * (lane & 3) - (e & 1);
            const bool is_seen = static_cast<uint32_t>(distance) <= static_cast<uint32_t>(shape.window);
            scores[m][j][e] = is_seen ? scores[m][j][e] : -INFINITY;
          }
        }
      }
    }

#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float now = largest[m][half];
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j)
          now = fmaxf(now, fmaxf(scores[m][j][2 * half], scores[m][j][2 * half + 1]));
        now = row_max(now);
        const float shift = now == -INFINITY ? 0.0F : now;  // a row that has seen nothing yet
        const float fade = exp2_fast(largest[m][half] - shift);
        largest[m][half] = now;
        float part = 0;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[m][j][e] = exp2_fast(scores[m][j][e] - shift);
            part += scores[m][j][e];
          }
        }
        // Each lane sums its own columns; the four lanes of a row meet at the end.
        sum[m][half] = fmaf(sum[m][half], fade, part);
#pragma unroll
        for (int j = 0; j < kDimTiles; ++j) {
          out[m][j][2 * half] *= fade;
          out[m][j][2 * half + 1] *= fade;
        }
      }
    }

#pragma unroll
    for (int step = 0; step < kWindowKeys / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        a[m][0] = pack_bf16(scores[m][2 * step][0], scores[m][2 * step][1]);
        a[m][1] = pack_bf16(scores[m][2 * step][2], scores[m][2 * step][3]);
        a[m][2] = pack_bf16(scores[m][2 * step + 1][0], scores[m][2 * step + 1][1]);
        a[m][3] = pack_bf16(scores[m][2 * step + 1][2], scores[m][2 * step + 1][3]);
      }
#pragma unroll
      for (int j = 0; j < kDimTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, values + Tile::column_step(row_lane, j / 2) + step * Tile::kRowStep);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma(out[m][j], a[m], b[0], b[1]);
          mma(out[m][j + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  __syncwarp();  // the result goes through the queries' place
  Bf16* to =
      p.out + batch * p.out_strides.batch + head * p.out_strides.head + warp_query * p.out_strides.position;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = row_sum(sum[m][half]);
      factor[half] = reciprocal_fast(total);
      const int row = m * 16 + half * 8 + lane / 4;
      if (p.lse != nullptr && (lane & 3) == 0 && warp_query + row < shape.positions) {
        p.lse[(int64_t{batch} * shape.heads + head) * shape.positions + warp_query + row] =
            (largest[m][half] + log2_fast(total) - slope2 * static_cast<float>(row)) * kLn2;
      }
    }
    store_rows<kHeadDim>(out[m], factor[0], factor[1], queries + m * Tile::kRowStep, to, lane, [&](int r) {
      return warp_query + m * 16 + r < shape.positions
                 ? (m * 16 + r) * static_cast<int>(p.out_strides.position)
                 : -1;
    });
  }
}

}  // namespace gca::cuda
