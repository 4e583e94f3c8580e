#pragma once
// Sliding-window attention, backward. With p the probabilities, from lse, and D_i = <dO_i, out_i>:
//
//   dS_ij = p_ij (<dO_i, v_j> - D_i)     dq_i = scale sum_j dS_ij k_j     dk_j = scale sum_i dS_ij q_i dv_j =
//   sum_i p_ij dO_i
//
// Three kernels, no atomics: D; dq, a block 64 queries over the keys they see (three products a tile); dk and
// dv, a block 64 keys over the queries that see them (four). Bound by the tensor cores and shared memory: 16
// rows a warp, scores and dP in registers.

#include "kernels/sliding_window_attention/sliding_window_attention_tiles.cuh"

namespace gca::cuda {

/// kHeadDim / 8 lanes a row.
template <int kHeadDim>
__global__ void __launch_bounds__(128) window_dot_kernel(const __grid_constant__ WindowDotParams p) {
  constexpr int kLanes = kHeadDim / 8;
  const int64_t row = (int64_t{blockIdx.x} * 128 + threadIdx.x) / kLanes;  // of (B, n, H)
  const int unit = threadIdx.x % kLanes;
  const WindowShape& shape = p.shape;
  const bool is_row = row < int64_t{shape.batch} * shape.positions * shape.heads;
  const auto head = static_cast<int>(row % shape.heads);
  const auto position = static_cast<int>(row / shape.heads % shape.positions);
  const auto batch = static_cast<int>(row / shape.heads / shape.positions);
  float sum = 0;
  if (is_row) {
    const auto load = [&](const Bf16* from, const WindowStrides& strides) {
      return *reinterpret_cast<const uint4*>(from + batch * strides.batch + position * strides.position +
                                             head * strides.head + unit * 8);
    };
    const uint4 a = load(p.out, p.out_strides);
    const uint4 b = load(p.dout, p.dout_strides);
    const auto add = [&](uint32_t x, uint32_t y) {
      sum = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), sum);
      sum = fmaf(__uint_as_float(x & 0xFFFF0000), __uint_as_float(y & 0xFFFF0000), sum);
    };
    add(a.x, b.x);
    add(a.y, b.y);
    add(a.z, b.z);
    add(a.w, b.w);
  }
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, distance);
  if (is_row && unit == 0) p.dot[(int64_t{batch} * shape.heads + head) * shape.positions + position] = sum;
}

template <int kHeadDim>
__global__ void __launch_bounds__(128)
    window_backward_queries_kernel(const __grid_constant__ WindowBackwardParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kThreads = 128;
  constexpr int kKeyTiles = kWindowKeys / 8;
  constexpr int kDimTiles = kHeadDim / 8;
  constexpr uint32_t kTileBytes = kWindowKeys * Tile::kRowBytes;
  extern __shared__ __align__(128) uint8_t shared[];

  const WindowShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int head = blockIdx.y;
  const int batch = blockIdx.z;
  const int first_query = blockIdx.x * 64;
  const int warp_query = first_query + warp * 16;
  const int keys_end = shape.past + shape.positions;
  const int own = shape.past + warp_query;
  const uint32_t stages = shared_address(shared);
  const uint32_t queries = stages + 4 * kTileBytes + warp * 16 * Tile::kRowBytes;
  const uint32_t gradients = queries + 64 * Tile::kRowBytes;

  const auto copy_own = [&](uint32_t to, const Bf16* from, const WindowStrides& strides) {
    copy_rows<kHeadDim, 16>(
        to, from + batch * strides.batch + head * strides.head + warp_query * strides.position, lane,
        [&](int r) {
          return warp_query + r < shape.positions ? r * static_cast<int>(strides.position) : -1;
        });
  };
  copy_own(queries, p.q, p.q_strides);
  copy_own(gradients, p.dout, p.dout_strides);

  const int first_tile = max(0, shape.past + first_query - shape.window) / kWindowKeys;
  const int last_tile = (min(keys_end, shape.past + first_query + 64) - 1) / kWindowKeys;
  const Bf16* k = p.k + batch * p.k_strides.batch + head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + head * p.v_strides.head;
  const auto copy_tile = [&](int tile, uint32_t stage) {
    copy_positions<kHeadDim, kWindowKeys, kThreads>(stages + stage * 2 * kTileBytes, k, p.k_strides.position,
                                                    tile * kWindowKeys, keys_end);
    copy_positions<kHeadDim, kWindowKeys, kThreads>(stages + (stage * 2 + 1) * kTileBytes, v,
                                                    p.v_strides.position, tile * kWindowKeys, keys_end);
  };

  const float scale2 = shape.scale * kLog2e;
  const float slope2 = p.slopes[head] * kLog2e;
  float row_shift[2],
      dot[2];  // lse and the query's part of the bias; a row without a query has probabilities of 0
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = half * 8 + lane / 4;
    const bool is_query = warp_query + row < shape.positions;
    const int64_t place = (int64_t{batch} * shape.heads + head) * shape.positions + warp_query + row;
    row_shift[half] = is_query ? p.lse[place] * kLog2e + slope2 * static_cast<float>(row) : INFINITY;
    dot[half] = is_query ? p.dot[place] : 0.0F;
  }

  float dq[kDimTiles][4] = {};
  const uint32_t row_lane = Tile::lane_rows_first(lane);
  const uint32_t column_lane = Tile::lane_columns_first(lane);

  copy_tile(first_tile, 0);
  commit_copies();
  for (int tile = first_tile; tile <= last_tile; ++tile) {
    const uint32_t stage = (tile - first_tile) & 1;
    wait_copies<0>();
    __syncthreads();
    if (tile < last_tile) copy_tile(tile + 1, stage ^ 1);
    commit_copies();
    const int first_key = tile * kWindowKeys;
    if (first_key > own + 15 || first_key + kWindowKeys - 1 < own - shape.window) continue;
    const uint32_t keys = stages + stage * 2 * kTileBytes;
    const uint32_t values = keys + kTileBytes;

    float scores[kKeyTiles][4] = {};
    float dp[kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      uint32_t a[4], b[4];
      load_matrices(a, queries + Tile::column_step(row_lane, step));
#pragma unroll
      for (int j = 0; j < kKeyTiles; j += 2) {
        load_matrices(b, keys + Tile::column_step(column_lane, step) + j / 2 * Tile::kRowStep);
        mma(scores[j], a, b[0], b[1]);
        mma(scores[j + 1], a, b[2], b[3]);
      }
      load_matrices(a, gradients + Tile::column_step(row_lane, step));
#pragma unroll
      for (int j = 0; j < kKeyTiles; j += 2) {
        load_matrices(b, values + Tile::column_step(column_lane, step) + j / 2 * Tile::kRowStep);
        mma(dp[j], a, b[0], b[1]);
        mma(dp[j + 1], a, b[2], b[3]);
      }
    }

    const float first_bias = slope2 * static_cast<float>(first_key - own + 2 * (lane & 3));
    const bool meets_bounds = first_key + kWindowKeys - 1 > own || first_key < own + 15 - shape.window;
#pragma unroll
    for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float bias = fmaf(slope2, static_cast<float>(8 * j + (e & 1)), first_bias);
        scores[j][e] = exp2_fast(fmaf(scores[j][e], scale2, bias) - row_shift[e / 2]);
      }
    }
    if (meets_bounds) {
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int distance = own + (e / 2) * 8 + lane / 4 - first_key - 8 * j - 2 * (lane & 3) - (e & 1);
          const bool is_seen = static_cast<uint32_t>(distance) <= static_cast<uint32_t>(shape.window);
          scores[j][e] = is_seen ? scores[j][e] : 0.0F;
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[j][e] *= dp[j][e] - dot[e / 2];  // dS
    }

#pragma unroll
    for (int step = 0; step < kWindowKeys / 16; ++step) {
      const uint32_t a[4] = {pack_bf16(scores[2 * step][0], scores[2 * step][1]),
                             pack_bf16(scores[2 * step][2], scores[2 * step][3]),
                             pack_bf16(scores[2 * step + 1][0], scores[2 * step + 1][1]),
                             pack_bf16(scores[2 * step + 1][2], scores[2 * step + 1][3])};
#pragma unroll
      for (int j = 0; j < kDimTiles; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, keys + Tile::column_step(row_lane, j / 2) + step * Tile::kRowStep);
        mma(dq[j], a, b[0], b[1]);
        mma(dq[j + 1], a, b[2], b[3]);
      }
    }
  }

  __syncwarp();  // the result goes through the queries' place
  store_rows<kHeadDim>(
      dq, shape.scale, shape.scale, queries,
      p.dq + batch * p.dq_strides.batch + head * p.dq_strides.head + warp_query * p.dq_strides.position, lane,
      [&](int r) {
        return warp_query + r < shape.positions ? r * static_cast<int>(p.dq_strides.position) : -1;
      });
}

template <int kHeadDim>
__global__ void __launch_bounds__(128)
    window_backward_keys_kernel(const __grid_constant__ WindowBackwardParams p) {
  using Tile = SharedTile<kHeadDim>;
  constexpr int kThreads = 128;
  constexpr int kQueries = kHeadDim == 128 ? 32 : 64;  // of a tile: window_tile_queries()
  constexpr int kQueryTiles = kQueries / 8;
  constexpr int kDimTiles = kHeadDim / 8;
  constexpr uint32_t kKeyBytes = kWindowKeys * Tile::kRowBytes;
  constexpr uint32_t kQueryBytes = kQueries * Tile::kRowBytes;
  constexpr uint32_t kStatBytes = kQueries * 8;
  extern __shared__ __align__(128) uint8_t shared[];

  const WindowShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int head = blockIdx.y;
  const int batch = blockIdx.z;
  const int first_key = blockIdx.x * kWindowKeys;
  const int warp_key = first_key + warp * 16;
  const int keys_end = shape.past + shape.positions;
  // Queries that see a key of the block: i = j - past ... j - past + W.
  const int first_query = max(0, first_key - shape.past);
  const int end_query = min(shape.positions, first_key + kWindowKeys - shape.past + shape.window);
  const int first_tile = first_query / kQueries;
  const int end_tile = (end_query + kQueries - 1) / kQueries;  // no tiles where it is not above first_tile

  const uint32_t keys = shared_address(shared);
  const uint32_t values = keys + kKeyBytes;
  const uint32_t stages = values + kKeyBytes;
  const uint32_t stats = stages + 4 * kQueryBytes;
  const float slope2 = p.slopes[head] * kLog2e;

  const auto copy_tile = [&](int tile, uint32_t stage) {
    const uint32_t to = stages + stage * 2 * kQueryBytes;
    copy_positions<kHeadDim, kQueries, kThreads>(to,
                                                 p.q + batch * p.q_strides.batch + head * p.q_strides.head,
                                                 p.q_strides.position, tile * kQueries, shape.positions);
    copy_positions<kHeadDim, kQueries, kThreads>(
        to + kQueryBytes, p.dout + batch * p.dout_strides.batch + head * p.dout_strides.head,
        p.dout_strides.position, tile * kQueries, shape.positions);
    if (threadIdx.x < kQueries) {
      const int query = tile * kQueries + static_cast<int>(threadIdx.x);
      const bool is_query = query < shape.positions;
      const int64_t place = (int64_t{batch} * shape.heads + head) * shape.positions + query;
      // lse and the query's part of the bias, from the block's first key on.
      const float shift =
          is_query ? p.lse[place] * kLog2e + slope2 * static_cast<float>(shape.past + query - first_key)
                   : INFINITY;
      const float dot = is_query ? p.dot[place] : 0.0F;
      asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(stats + stage * kStatBytes + threadIdx.x * 8),
                   "f"(shift), "f"(dot)
                   : "memory");
    }
  };

  if (first_tile < end_tile) {
    copy_positions<kHeadDim, kWindowKeys, kThreads>(keys,
                                                    p.k + batch * p.k_strides.batch + head * p.k_strides.head,
                                                    p.k_strides.position, first_key, keys_end);
    copy_positions<kHeadDim, kWindowKeys, kThreads>(values,
                                                    p.v + batch * p.v_strides.batch + head * p.v_strides.head,
                                                    p.v_strides.position, first_key, keys_end);
    copy_tile(first_tile, 0);
  }
  commit_copies();

  float dk[kDimTiles][4] = {};
  float dv[kDimTiles][4] = {};
  const uint32_t row_lane = Tile::lane_rows_first(lane);
  const uint32_t column_lane = Tile::lane_columns_first(lane);
  const uint32_t my_keys = keys + warp * Tile::kRowStep;
  const uint32_t my_values = values + warp * Tile::kRowStep;
  const float scale2 = shape.scale * kLog2e;
  float key_bias[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    key_bias[half] = slope2 * static_cast<float>(warp * 16 + half * 8 + lane / 4);

  for (int tile = first_tile; tile < end_tile; ++tile) {
    const uint32_t stage = (tile - first_tile) & 1;
    wait_copies<0>();
    __syncthreads();
    if (tile + 1 < end_tile) copy_tile(tile + 1, stage ^ 1);
    commit_copies();
    const int own = shape.past + tile * kQueries;  // key of the tile's first query
    if (own + kQueries - 1 < warp_key || own > warp_key + 15 + shape.window) continue;
    const uint32_t queries = stages + stage * 2 * kQueryBytes;
    const uint32_t gradients = queries + kQueryBytes;

    float scores[kQueryTiles][4] = {};  // transposed: rows are keys
    float dp[kQueryTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
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

    const uint32_t stat = stats + stage * kStatBytes + (lane & 3) * 16;
    const bool meets_bounds = own < warp_key + 15 || own + kQueries - 1 > warp_key + shape.window;
#pragma unroll
    for (int j = 0; j < kQueryTiles; ++j) {
      float shift[2], dot[2];
      asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                   : "=f"(shift[0]), "=f"(dot[0]), "=f"(shift[1]), "=f"(dot[1])
                   : "r"(stat + j * 64)
                   : "memory");
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[j][e] = exp2_fast(fmaf(scores[j][e], scale2, key_bias[e / 2]) - shift[e & 1]);  // p
        dp[j][e] -= dot[e & 1];
      }
    }
    if (meets_bounds) {
#pragma unroll
      for (int j = 0; j < kQueryTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int distance = own + 8 * j + 2 * (lane & 3) + (e & 1) - warp_key - (e / 2) * 8 - lane / 4;
          const bool is_seen = static_cast<uint32_t>(distance) <= static_cast<uint32_t>(shape.window);
          scores[j][e] = is_seen ? scores[j][e] : 0.0F;
        }
      }
    }

#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) {
      uint32_t a[4], ds[4];
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        const float(&p_part)[4] = scores[2 * step + part / 2];
        const float(&dp_part)[4] = dp[2 * step + part / 2];
        const int e = 2 * (part & 1);
        a[part] = pack_bf16(p_part[e], p_part[e + 1]);
        ds[part] = pack_bf16(p_part[e] * dp_part[e], p_part[e + 1] * dp_part[e + 1]);
      }
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

  // Through the warp's own rows of keys and values.
  __syncwarp();
  const auto store = [&](const float(&sums)[kDimTiles][4], float factor, uint32_t passage, Bf16* to,
                         const WindowStrides& strides) {
    store_rows<kHeadDim>(
        sums, factor, factor, passage,
        to + batch * strides.batch + head * strides.head + warp_key * strides.position, lane,
        [&](int r) { return warp_key + r < keys_end ? r * static_cast<int>(strides.position) : -1; });
  };
  store(dk, shape.scale, my_keys, p.dk, p.dk_strides);
  store(dv, 1.0F, my_values, p.dv, p.dv_strides);
}

}  // namespace gca::cuda
