#pragma once
// Grouped cross-attention, backward, second pass: what belongs to a chunk, summed over its readers in the
// order of their rows, so that no atomics are needed and results have one value:
//
//   dV = sum w_k p^T dO        dK = scale sum dS^T q,   dS = w_k p (dP - delta)
//
// Bound by the tensor cores (four products of the tile a reader) and shared memory. A block is a chunk of one
// key/value head; a warp holds 16 keys: its rows of K and V as operands, dK and dV as accumulators, scores
// transposed (keys are rows), so that p^T and dS^T come out of one product as the operand of the next.
// Queries come in tiles, two stages.
//
// gca_readers_kernel makes the lists of readers from the lists of chunks.

#include "kernels/grouped_cross_attention/grouped_cross_attention_tiles.cuh"

namespace gca::cuda {

template <int kHeadDim, int kKeys>
__global__ void __launch_bounds__(kKeys * 2)
    gca_backward_chunks_kernel(const __grid_constant__ GcaBackwardChunksParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kThreads = kKeys * 2;
  constexpr int kQueries = kHeadDim == 128 ? 32 : 64;  // of a tile: gca_chunk_queries()
  constexpr int kQueryTiles = kQueries / 8;
  constexpr int kDimTiles = kHeadDim / 8;
  constexpr int kDimSteps = kHeadDim / 16;
  constexpr uint32_t kChunkBytes = kKeys * Tile::kRowBytes;
  constexpr uint32_t kQueryBytes = kQueries * Tile::kRowBytes;
  constexpr uint32_t kStatBytes = kQueries * 8;
  extern __shared__ __align__(128) uint8_t shared[];

  const GcaShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int chunk = blockIdx.x;
  const int kv_head = blockIdx.y;
  const int batch = blockIdx.z;
  const int group = shape.heads / shape.kv_heads;
  const int32_t* offsets = p.offsets + int64_t{batch} * (shape.chunks + 1) + chunk;
  const int first_reader = offsets[0];
  const int readers = offsets[1] - first_reader;
  const int32_t* my_readers = p.readers + int64_t{batch} * shape.rows * shape.slots + first_reader;
  const int tiles_of_reader = (group * shape.chunk_size + kQueries - 1) / kQueries;
  const int tiles = readers * tiles_of_reader;

  const uint32_t keys = shared_address(shared);
  const uint32_t values = keys + kChunkBytes;
  const uint32_t stages = values + kChunkBytes;     // q and dout, twice
  const uint32_t stats = stages + 4 * kQueryBytes;  // (lse log2 e, delta) of each query, twice

  // Tile `index` of the chunk's readers, into a stage; its list's weight is returned.
  const auto fetch = [&](int index, uint32_t stage) {
    const int entry = my_readers[index / tiles_of_reader];
    const int row = entry / shape.slots;
    const int slot = entry - row * shape.slots;
    const ReadingRow reading(shape, row);
    const int first_row = index % tiles_of_reader * kQueries;
    const auto first_of = [&](const GcaStrides& strides) {
      return batch * strides.batch + reading.before * strides.position + kv_head * group * strides.head;
    };
    const Bf16* q = p.q + first_of(p.q_strides);
    const Bf16* dout = p.dout + first_of(p.dout_strides);
    const uint32_t to_q = stages + stage * 2 * kQueryBytes;
#pragma unroll
    for (int i = threadIdx.x; i < kQueries * Tile::kUnits; i += kThreads) {
      const int tile_row = i / Tile::kUnits;
      const int unit = i % Tile::kUnits;
      const int offset = reading.offset(first_row + tile_row, p.q_strides);
      const uint32_t to = to_q + Tile::offset(tile_row, unit);
      if (offset >= 0) {
        copy_async(to, q + offset + unit * 8);
        copy_async(to + kQueryBytes, dout + reading.offset(first_row + tile_row, p.dout_strides) + unit * 8);
      } else {
        store_shared(to, uint4{0, 0, 0, 0});
        store_shared(to + kQueryBytes, uint4{0, 0, 0, 0});
      }
    }
    const int64_t first_stat = batch * p.lse_strides.batch + kv_head * group * p.lse_strides.head +
                               slot * p.lse_strides.slot + reading.before;
    for (int i = threadIdx.x; i < kQueries; i += kThreads) {
      const RowPair pair = reading.pair(first_row + i);
      const int64_t place = first_stat + pair.head * static_cast<int>(p.lse_strides.head) + pair.place;
      // Without a query the probability is 0.
      const float lse2 = pair.head >= 0 ? p.lse[place] * kLog2e : INFINITY;
      const float delta = pair.head >= 0 ? p.delta[place] : 0.0F;
      const uint32_t to = stats + stage * kStatBytes + i * 8;
      asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(to), "f"(lse2), "f"(delta) : "memory");
    }
    return p.w[int64_t{batch} * shape.rows * shape.slots + entry];
  };

  if (tiles > 0) {
    zero_tail_rows<kHeadDim, kKeys>(shared, 2, shape.keys, kThreads);
    const Bf16* k = p.k + batch * p.k_strides.batch + chunk * p.k_strides.chunk + kv_head * p.k_strides.head;
    const Bf16* v = p.v + batch * p.v_strides.batch + chunk * p.v_strides.chunk + kv_head * p.v_strides.head;
    for (int i = threadIdx.x; i < shape.keys * Tile::kUnits; i += kThreads) {
      const uint32_t to = keys + Tile::offset(i / Tile::kUnits, i % Tile::kUnits);
      copy_async(to, k + i / Tile::kUnits * p.k_strides.key + i % Tile::kUnits * 8);
      copy_async(to + kChunkBytes, v + i / Tile::kUnits * p.v_strides.key + i % Tile::kUnits * 8);
    }
  }
  float weight = tiles > 0 ? fetch(0, 0) : 0.0F;
  commit_copies();

  float dk[kDimTiles][4] = {};
  float dv[kDimTiles][4] = {};
  const uint32_t row_lane = Tile::lane_rows_first(lane);
  const uint32_t column_lane = Tile::lane_columns_first(lane);
  const uint32_t my_keys = keys + warp * Tile::kRowStep;
  const uint32_t my_values = values + warp * Tile::kRowStep;
  const float scale2 = shape.scale * kLog2e;

  for (int tile = 0; tile < tiles; ++tile) {
    const uint32_t stage = tile & 1;
    wait_copies<0>();
    __syncthreads();
    const float this_weight = weight;
    if (tile + 1 < tiles) weight = fetch(tile + 1, stage ^ 1);
    commit_copies();
    const uint32_t queries = stages + stage * 2 * kQueryBytes;
    const uint32_t gradients = queries + kQueryBytes;

    float scores[kQueryTiles][4] = {};  // transposed: rows are keys
    float dp[kQueryTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kDimSteps; ++step) {
      uint32_t a[4], b[4];
      load_matrices(a, my_keys + Tile::column_step(row_lane, step));
#pragma unroll
      for (int j = 0; j < kQueryTiles; j += 2) {
        load_matrices(b, queries + Tile::column_step(column_lane, step) + j / 2 * Tile::kRowStep);
        mma(scores[j], a, b[0], b[1]);
        mma(scores[j + 1], a, b[2], b[3]);
      }
      load_matrices(a, my_values + Tile::column_step(row_lane, step));
#pragma unroll
      for (int j = 0; j < kQueryTiles; j += 2) {
        load_matrices(b, gradients + Tile::column_step(column_lane, step) + j / 2 * Tile::kRowStep);
        mma(dp[j], a, b[0], b[1]);
        mma(dp[j + 1], a, b[2], b[3]);
      }
    }

    // Keys past the last one need no mask: their rows of K are 0, and nobody stores their sums.
    const uint32_t stat = stats + stage * kStatBytes + (lane & 3) * 16;
#pragma unroll
    for (int j = 0; j < kQueryTiles; ++j) {
      float lse2[2], delta[2];
      asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                   : "=f"(lse2[0]), "=f"(delta[0]), "=f"(lse2[1]), "=f"(delta[1])
                   : "r"(stat + j * 64)
                   : "memory");
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[j][e] = this_weight * exp2_fast(fmaf(scores[j][e], scale2, -lse2[e & 1]));  // w p
        dp[j][e] = scores[j][e] * (dp[j][e] - delta[e & 1]);                               // dS
      }
    }

#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) {
      const uint32_t a[4] = {pack_bf16(scores[2 * step][0], scores[2 * step][1]),
                             pack_bf16(scores[2 * step][2], scores[2 * step][3]),
                             pack_bf16(scores[2 * step + 1][0], scores[2 * step + 1][1]),
                             pack_bf16(scores[2 * step + 1][2], scores[2 * step + 1][3])};
      const uint32_t ds[4] = {pack_bf16(dp[2 * step][0], dp[2 * step][1]),
                              pack_bf16(dp[2 * step][2], dp[2 * step][3]),
                              pack_bf16(dp[2 * step + 1][0], dp[2 * step + 1][1]),
                              pack_bf16(dp[2 * step + 1][2], dp[2 * step + 1][3])};
#pragma unroll
      for (int j = 0; j < kDimTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, gradients + Tile::column_step(row_lane, j / 2) + step * Tile::kRowStep);
        mma(dv[j], a, b[0], b[1]);
        mma(dv[j + 1], a, b[2], b[3]);
        load_matrices_transposed(b, queries + Tile::column_step(row_lane, j / 2) + step * Tile::kRowStep);
        mma(dk[j], ds, b[0], b[1]);
        mma(dk[j + 1], ds, b[2], b[3]);
      }
    }
  }

  // Through the warp's own rows of K and V, so that rows leave in one piece.
  __syncwarp();
  const auto offset_of = [&](int64_t key_stride) {
    return [=, keys_of_chunk = shape.keys](int r) {
      return warp * 16 + r < keys_of_chunk ? (warp * 16 + r) * static_cast<int>(key_stride) : -1;
    };
  };
  const auto first_of = [&](const GcaChunkStrides& strides) {
    return batch * strides.batch + chunk * strides.chunk + kv_head * strides.head;
  };
  store_rows<kHeadDim>(dk, shape.scale, shape.scale, my_keys, p.dk + first_of(p.dk_strides), lane,
                       offset_of(p.dk_strides.key));
  store_rows<kHeadDim>(dv, 1.0F, 1.0F, my_values, p.dv + first_of(p.dv_strides), lane,
                       offset_of(p.dv_strides.key));
}

/// A warp a chunk: entries of smaller chunks come before its own, so one reading of the lists tells where its
/// list begins, and a second fills it, in order.
__global__ void __launch_bounds__(128) gca_readers_kernel(const __grid_constant__ GcaReadersParams p) {
  const int lane = threadIdx.x & 31;
  const int chunk = blockIdx.x * 4 + static_cast<int>(threadIdx.x >> 5);
  const int batch = blockIdx.y;
  if (chunk >= p.chunks) return;
  const int32_t* idx = p.idx + int64_t{batch} * p.entries;
  int before = 0, own = 0;
  for (int entry = lane; entry < p.entries; entry += 32) {
    const int value = idx[entry];
    before += value >= 0 && value < chunk ? 1 : 0;
    own += value == chunk ? 1 : 0;
  }
  before = __reduce_add_sync(0xFFFFFFFF, before);
  own = __reduce_add_sync(0xFFFFFFFF, own);
  int32_t* offsets = p.offsets + int64_t{batch} * (p.chunks + 1);
  if (lane == 0) {
    offsets[chunk] = before;
    if (chunk == p.chunks - 1) offsets[p.chunks] = before + own;
  }
  int32_t* readers = p.readers + int64_t{batch} * p.entries + before;
  for (int first = 0; first < p.entries; first += 32) {
    const bool is_own = first + lane < p.entries && idx[first + lane] == chunk;
    const uint32_t mask = __ballot_sync(0xFFFFFFFF, is_own);
    if (is_own) readers[__popc(mask & ((1U << lane) - 1))] = first + lane;
    readers += __popc(mask);
  }
}

}  // namespace gca::cuda
