#pragma once
// Grouped cross-attention, forward:
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// Bound by the tensor cores (two products of the tile a chunk), then by L2, which holds what many rows read.
//
// A warp keeps 16 kRowTiles rows of scores against one whole chunk in registers, so that each softmax is
// exact in one pass: no running maximum, nothing is ever rescaled. Probabilities are multiplied by w_k / l
// before they are rounded, so all chunks add into one accumulator. With two row tiles a warp reads half as
// much shared memory a row; keys and values of the next chunk arrive by asynchronous copies meanwhile.
//
// Versions
//   1  mma.sync, two stages, one barrier a chunk (here)

#include "kernels/grouped_cross_attention/grouped_cross_attention_tiles.cuh"

namespace gca::cuda {

template <int kHeadDim, int kKeys, int kRowTiles>
__global__ void __launch_bounds__(256) gca_forward_kernel(const __grid_constant__ GcaForwardParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kKeyTiles = kKeys / 8;     // columns of scores
  constexpr int kDimTiles = kHeadDim / 8;  // columns of out
  constexpr int kWarpRows = 16 * kRowTiles;
  constexpr uint32_t kChunkBytes = kKeys * Tile::kRowBytes;
  extern __shared__ __align__(128) uint8_t shared[];

  const GcaShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int threads = blockDim.x;
  const int group = shape.heads / shape.kv_heads;  // query heads of the key/value head
  const int tile_rows = threads / 32 * kWarpRows;
  const int tiles = (group * shape.chunk_size + tile_rows - 1) / tile_rows;
  const int row = blockIdx.x / tiles;
  const int first_row = blockIdx.x % tiles * tile_rows + warp * kWarpRows;  // of this warp
  const int kv_head = blockIdx.y;
  const int batch = blockIdx.z;
  const ReadingRow reading(shape, row);
  const int before = reading.before;
  const auto pair_at = [&](int tile_row) { return reading.pair(first_row + tile_row); };

  const uint32_t stages = shared_address(shared);  // keys and values, twice
  const uint32_t queries = stages + 4 * kChunkBytes + warp * kWarpRows * Tile::kRowBytes;

  // The list of chunks, a lane a slot.
  const int64_t list = (int64_t{batch} * shape.rows + row) * shape.slots;
  const int my_chunk = lane < shape.slots ? p.idx[list + lane] : -1;
  const bool is_chosen = my_chunk >= 0 && my_chunk < shape.chunks;
  const float my_weight = is_chosen ? p.w[list + lane] : 0.0F;
  uint32_t slots = __ballot_sync(0xFFFFFFFF, is_chosen);

  const Bf16* k = p.k + batch * p.k_strides.batch + kv_head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + kv_head * p.v_strides.head;
  const auto copy_slot = [&](int slot, uint32_t stage) {
    const int chunk = __shfl_sync(0xFFFFFFFF, my_chunk, slot);
    copy_chunk<kHeadDim>(stages + stage * 2 * kChunkBytes, k + chunk * p.k_strides.chunk, p.k_strides.key,
                         shape.keys, threadIdx.x, threads);
    copy_chunk<kHeadDim>(stages + (stage * 2 + 1) * kChunkBytes, v + chunk * p.v_strides.chunk,
                         p.v_strides.key, shape.keys, threadIdx.x, threads);
  };

  zero_tail_rows<kHeadDim, kKeys>(shared, 4, shape.keys, threads);
  const int64_t first_query =
      batch * p.q_strides.batch + before * p.q_strides.position + kv_head * group * p.q_strides.head;
  copy_rows<kHeadDim, kWarpRows>(queries, p.q + first_query, lane,
                                 [&](int r) { return reading.offset(first_row + r, p.q_strides); });

  // Where this lane's rows have their statistics, of which one lane in four writes them; -1 for nowhere.
  float* lse_of_list = p.lse + batch * p.lse_strides.batch + kv_head * group * p.lse_strides.head + before;
  int lse_place[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const RowPair pair = pair_at(i * 8 + lane / 4);
    const bool writes = p.lse != nullptr && (lane & 3) == 0 && pair.head >= 0;
    lse_place[i / 2][i % 2] = writes ? pair.head * static_cast<int>(p.lse_strides.head) + pair.place : -1;
  }

  float out[kRowTiles][kDimTiles][4] = {};
  const uint32_t q_lane = Tile::lane_rows_first(lane);
  const uint32_t k_lane = Tile::lane_columns_first(lane);
  const uint32_t v_lane = Tile::lane_rows_first(lane);
  const float scale2 = p.shape.scale * kLog2e;
  const int tail = shape.keys - 2 * (lane & 3);  // column 8 j + e of this lane is a key if 8 j + e < tail

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
    float* lse = lse_of_list + slot * p.lse_strides.slot;

    float scores[kRowTiles][kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
        load_matrices(a[m], queries + Tile::column_step(q_lane, step) + m * Tile::kRowStep);
#pragma unroll
      for (int j = 0; j < kKeyTiles; j += 2) {
        uint32_t b[4];
        load_matrices(b, keys + Tile::column_step(k_lane, step) + j / 2 * Tile::kRowStep);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma(scores[m][j], a[m], b[0], b[1]);
          mma(scores[m][j + 1], a[m], b[2], b[3]);
        }
      }
    }

    // Columns past the last key. Usual chunks end within the last 16.
    const auto mask_from = [&](int first) {
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
        if (j < first) continue;
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores[m][j][e] = 8 * j + (e & 1) < tail ? scores[m][j][e] : -INFINITY;
        }
      }
    };
    mask_from(kKeyTiles - 2);
    if (kKeyTiles > 2 && shape.keys <= kKeys - 16) mask_from(0);

#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = shape.softmax_one ? 0.0F : -INFINITY;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j)
          largest = fmaxf(largest, fmaxf(scores[m][j][2 * half], scores[m][j][2 * half + 1]));
        const float largest2 = row_max(largest) * scale2;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[m][j][e] = exp2_fast(fmaf(scores[m][j][e], scale2, -largest2));
            sum += scores[m][j][e];
          }
        }
        sum = row_sum(sum);
        if (shape.softmax_one) sum += exp2_fast(-largest2);
        const float factor = weight * reciprocal_fast(sum);
#pragma unroll
        for (int j = 0; j < kKeyTiles; ++j) {
          scores[m][j][2 * half] *= factor;
          scores[m][j][2 * half + 1] *= factor;
        }
        if (lse_place[m][half] >= 0) lse[lse_place[m][half]] = (largest2 + log2_fast(sum)) * kLn2;
      }
    }

#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
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
        load_matrices_transposed(b, values + Tile::column_step(v_lane, j / 2) + step * Tile::kRowStep);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma(out[m][j], a[m], b[0], b[1]);
          mma(out[m][j + 1], a[m], b[2], b[3]);
        }
      }
    }
    slot = next_slot;
  }

  // The copies of a row that read nothing may still be on their way to where the result passes through.
  wait_copies<0>();
  __syncwarp();
  const int64_t first_out =
      batch * p.out_strides.batch + before * p.out_strides.position + kv_head * group * p.out_strides.head;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    store_rows<kHeadDim>(out[m], 1.0F, 1.0F, queries + m * Tile::kRowStep, p.out + first_out, lane,
                         [&](int r) { return reading.offset(first_row + m * 16 + r, p.out_strides); });
  }
}

}  // namespace gca::cuda
