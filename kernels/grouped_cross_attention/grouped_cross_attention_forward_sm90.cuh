#pragma once
// Grouped cross-attention, forward, on Hopper:
//
//   o_k = softmax_M( q . K_{I[k]} * scale ) V_{I[k]}        out = sum_k w_k o_k
//
// Bound by the softmax: a score costs the tensor cores 1/16 of a cycle (64 multiply-adds, and 64 into its
// values), its exponential as much of the special function units, and its instructions nearly as much of the
// schedulers. So nothing of a row is computed more than once: of the four lanes that hold a row each speaks
// for one of its two rows, with one reciprocal and one logarithm for both; addresses are kept, not computed again.
//
// As in version 1 (grouped_cross_attention_forward.cuh) a softmax is exact in one pass over a whole chunk,
// and probabilities are multiplied by w_k / l before they are rounded, so all chunks add into one
// accumulator. A warpgroup has 64 rows; its queries and probabilities are A of the products in registers,
// keys and values B in shared memory, read once for all of its warps and brought once for all warpgroups,
// that is for the query heads of a key/value head.
//
// Versions
//   1  mma.sync (grouped_cross_attention_forward.cuh)
//   2  wgmma, two stages, one barrier a chunk (here)

#include "kernels/common/cuda/warpgroup.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_tiles.cuh"

namespace gca::cuda {

/// A chunk's rows of one head in shared memory: panels of 64 columns, kKeys rows each (warpgroup.cuh).
template <int kHeadDim, int kKeys>
struct ChunkTile {
  using Panel = SharedTile<64>;
  static constexpr int kUnits = kHeadDim / 8;  // of 16 bytes, in a row
  static constexpr uint32_t kPanelBytes = kKeys * Panel::kRowBytes;
  static constexpr uint32_t kBytes = kHeadDim / 64 * kPanelBytes;

  static __device__ __forceinline__ uint32_t offset(int row, int unit) {
    return unit / 8 * kPanelBytes + Panel::offset(row, unit % 8);
  }
};

/// sum + a * b in one instruction.
__device__ __forceinline__ int64_t multiply_add_wide(int a, int b, int64_t sum) {
  asm("mad.wide.s32 %0, %1, %2, %0;" : "+l"(sum) : "r"(a), "r"(b));
  return sum;
}
template <class T>
__device__ __forceinline__ T* advance(T* base, int count, int stride_bytes) {
  return reinterpret_cast<T*>(multiply_add_wide(count, stride_bytes, reinterpret_cast<int64_t>(base)));
}

/// The copies of chunks that one of `kThreads` threads makes: one unit of every kRowsAStep-th row, of keys
/// and of values into the tile behind them. Rows beyond a chunk are never written but once, with 0.
template <int kHeadDim, int kKeys, int kThreads>
struct ChunkCopies {
  using Tile = ChunkTile<kHeadDim, kKeys>;
  static constexpr int kRowsAStep =
      kThreads / Tile::kUnits;  // a multiple of 8: units of all steps are at the same places
  static constexpr int kSteps = (kKeys + kRowsAStep - 1) / kRowsAStep;
  int rows_left;  // of the chunk, from this thread's first row on
  uint32_t to;
  const char *k, *v;                 // of chunk 0
  int k_chunk_bytes, v_chunk_bytes;  // from chunk to chunk
  int64_t k_step_bytes, v_step_bytes;

  __device__ __forceinline__ ChunkCopies(const GcaForwardParams& p, int batch, int kv_head, int thread)
      : k_chunk_bytes(static_cast<int>(p.k_strides.chunk) * 2),
        v_chunk_bytes(static_cast<int>(p.v_strides.chunk) * 2),
        k_step_bytes(kRowsAStep * p.k_strides.key * 2),
        v_step_bytes(kRowsAStep * p.v_strides.key * 2) {
    const int row = thread / Tile::kUnits;
    const int unit = thread % Tile::kUnits;
    rows_left = p.shape.keys - row;
    to = Tile::offset(row, unit);
    const auto first = [&](const Bf16* tensor, const GcaChunkStrides& strides) {
      int64_t elements = multiply_add_wide(batch, static_cast<int>(strides.batch), unit * 8);
      elements = multiply_add_wide(kv_head, static_cast<int>(strides.head), elements);
      return reinterpret_cast<const char*>(tensor +
                                           multiply_add_wide(row, static_cast<int>(strides.key), elements));
    };
    k = first(p.k, p.k_strides);
    v = first(p.v, p.v_strides);
    hold(rows_left);
    hold(to);
    hold(k);
    hold(v);
    hold(k_chunk_bytes);
    hold(v_chunk_bytes);
  }

  /// `at`: the tile of keys, and `to` beyond.
  __device__ __forceinline__ void start(int chunk, uint32_t at) const {
    const char* from_k = advance(k, chunk, k_chunk_bytes);
    const char* from_v = advance(v, chunk, v_chunk_bytes);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * kRowsAStep >= rows_left) break;
      copy_async(at + i * kRowsAStep * Tile::Panel::kRowBytes, from_k + i * k_step_bytes);
      copy_async(at + i * kRowsAStep * Tile::Panel::kRowBytes + Tile::kBytes, from_v + i * v_step_bytes);
    }
  }

  static __device__ __forceinline__ void zero_tail(uint32_t first_tile, int tiles, int rows, int thread) {
    for (int i = thread; i < (kKeys - rows) * Tile::kUnits; i += kThreads) {
      const uint32_t place = first_tile + Tile::offset(rows + i / Tile::kUnits, i % Tile::kUnits);
      for (int tile = 0; tile < tiles; ++tile) store_shared(place + tile * Tile::kBytes, uint4{0, 0, 0, 0});
    }
  }
};

/// ReadingRow with what it divides by given.
struct QueryRows {
  int before, begin;  ///< position at place 0; first place that is a position
  uint32_t places;    ///< that are positions
  int group, chunk_size;
  uint32_t inverse;  ///< 2^32 / S, or a little more

  __device__ __forceinline__ QueryRows(const GcaShape& shape, int row, int heads_of_group,
                                       uint32_t inverse_of_size)
      : before(row * shape.chunk_size - shape.first_offset),
        begin(max(0, -before)),
        places(min(shape.chunk_size, shape.positions - before) - begin),
        group(heads_of_group),
        chunk_size(shape.chunk_size),
        inverse(inverse_of_size) {}

  __device__ __forceinline__ RowPair pair(int row) const {
    const int head = static_cast<int>(__umulhi(static_cast<uint32_t>(row), inverse));
    const int place = row - head * chunk_size;
    return {static_cast<uint32_t>(place - begin) < places && head < group ? head : -1, place};
  }
};

template <int kHeadDim, int kKeys, int kWarpgroups>
__global__ void __launch_bounds__(128 * kWarpgroups, 1)
    gca_forward_sm90_kernel(const __grid_constant__ GcaForwardParams p) {
  using Tile = ChunkTile<kHeadDim, kKeys>;
  using Queries = SharedTile<kHeadDim>;
  constexpr int kThreads = 128 * kWarpgroups, kTileRows = 64 * kWarpgroups;
  constexpr int kKeyTiles = kKeys / 8;     // columns of scores
  constexpr int kDimTiles = kHeadDim / 8;  // columns of out
  extern __shared__ __align__(1024) uint8_t shared_memory[];

  const GcaShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  // Quotients of small numbers, by multiplication: exact, as what is added to them is less than their
  // distance from the next.
  const int group =
      static_cast<int>(static_cast<float>(shape.heads) * reciprocal_fast(static_cast<float>(shape.kv_heads)) +
                       0.5F);  // query heads of the key/value head
  const auto inverse = static_cast<uint32_t>(reciprocal_fast(static_cast<float>(shape.chunk_size)) *
                                             (4294967296.0F * (1.0F + 0x1p-20F)));
  const int rows = group * shape.chunk_size;
  const int tiles = rows <= kTileRows ? 1 : (rows + kTileRows - 1) / kTileRows;
  const int row = tiles == 1 ? blockIdx.x : blockIdx.x / tiles;
  const int first_row = (blockIdx.x - row * tiles) * kTileRows + warp * 16;  // of this warp
  const int kv_head = blockIdx.y;
  const int batch = blockIdx.z;
  const QueryRows reading(shape, row, group, inverse);
  const int before = reading.before;

  uint32_t stages = shared_address(shared_memory);  // keys and values, twice
  hold(stages);
  const uint32_t queries = stages + 4 * Tile::kBytes + warp * 16 * Queries::kRowBytes;

  // The list of chunks, a lane a slot.
  const int64_t list = multiply_add_wide(batch * shape.rows + row, shape.slots, lane);
  int my_chunk = -1;
  float my_weight = 0;
  if (lane < shape.slots) {
    my_chunk = p.idx[list];
    if (my_chunk >= 0 && my_chunk < shape.chunks) my_weight = p.w[list];
  }
  uint32_t slots = __ballot_sync(0xFFFFFFFF, my_chunk >= 0 && my_chunk < shape.chunks);

  // A lane's share of the queries' rows, in and out.
  constexpr int kRowsAStep = 32 / Queries::kUnits, kRowSteps = 16 / kRowsAStep;
  const int unit = lane % Queries::kUnits;
  const auto first_of = [&](const GcaStrides& strides) {  // elements to place 0 of the group's first head
    int64_t elements = multiply_add_wide(batch, static_cast<int>(strides.batch), unit * 8);
    elements = multiply_add_wide(before, static_cast<int>(strides.position), elements);
    return multiply_add_wide(kv_head * group, static_cast<int>(strides.head), elements);
  };
  // Rows kRowsAStep apart: the swizzle of units has the period 8.
  uint32_t query_place = queries + Queries::offset(lane / Queries::kUnits, unit);
  hold(query_place);
  const auto place_of = [&](int step) {
    return (query_place ^ (step * kRowsAStep % 8 << 4)) + step * kRowsAStep * Queries::kRowBytes;
  };
  int out_offset[kRowSteps];  // elements, negative for no query
  const Bf16* first_query = p.q + first_of(p.q_strides);
#pragma unroll
  for (int i = 0; i < kRowSteps; ++i) {
    const RowPair at = reading.pair(first_row + i * kRowsAStep + lane / Queries::kUnits);
    const auto offset = [&at](const GcaStrides& strides) {
      return at.place * static_cast<int>(strides.position) + at.head * static_cast<int>(strides.head);
    };
    out_offset[i] = at.head < 0 ? -1 : offset(p.out_strides);
    hold(out_offset[i]);
    if (at.head >= 0) {
      copy_async(place_of(i), advance(first_query, offset(p.q_strides), 2));
    } else {
      store_shared(place_of(i), uint4{0, 0, 0, 0});
    }
  }
  const ChunkCopies<kHeadDim, kKeys, kThreads> copies(p, batch, kv_head, threadIdx.x);
  int slot = __ffs(static_cast<int>(slots)) - 1;
  if (slots != 0) copies.start(__shfl_sync(0xFFFFFFFF, my_chunk, slot), stages + copies.to);
  copies.zero_tail(stages, 4, shape.keys, threadIdx.x);

  // The row that this lane speaks for, lane / 4 or 8 below it, and where its statistics go.
  int is_lower = lane & 1;
  hold(is_lower);
  const RowPair pair = reading.pair(first_row + lane / 4 + 8 * is_lower);
  int writes_lse = p.lse != nullptr && (lane & 2) == 0 && pair.head >= 0;
  int64_t lse_of_list = multiply_add_wide(batch, static_cast<int>(p.lse_strides.batch), before + pair.place);
  lse_of_list =
      multiply_add_wide(kv_head * group + pair.head, static_cast<int>(p.lse_strides.head), lse_of_list);
  float* lse = p.lse + lse_of_list;
  int lse_slot_bytes = static_cast<int>(p.lse_strides.slot) * 4;
  hold(writes_lse);
  hold(lse);
  hold(lse_slot_bytes);

  // A single row of zeros behind the keys is the one of the softmax off by one: its score is 0, its value nothing.
  const bool zero_is_one = shape.softmax_one && shape.keys == kKeys - 1;
  float one_log2 = shape.softmax_one && !zero_is_one ? 0.0F : -INFINITY;
  int masks = shape.keys < kKeys && !zero_is_one;
  float least = shape.softmax_one ? 0.0F : -INFINITY;  // of the largest score
  float scale2 = shape.scale * kLog2e;
  hold(one_log2);
  hold(masks);
  hold(least);
  hold(scale2);
  const int tail = shape.keys - 2 * (lane & 3);  // column 8 j + e of this lane is a key if 8 j + e < tail

  uint32_t q[kHeadDim / 16][4];
  wait_all_copies();
  __syncwarp();
  const uint32_t matrix =
      queries + Queries::lane_rows_first(lane);  // place of this lane's row of 16 x 16 blocks
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) load_matrices(q[step], Queries::column_step(matrix, step));
  hold(q);

  float out[kDimTiles][4] = {};
  hold(out);
  // The stage that is read, as an operand, and the one that is copied to; then the other.
  SharedOperand key_operand(stages), next_operand = key_operand.behind(2 * Tile::kBytes, 0);
  uint32_t next_copied = stages + copies.to + 2 * Tile::kBytes, copied = stages + copies.to;
  hold(next_operand.low);
  hold(copied);
  while (slots != 0) {
    wait_all_copies();
    wait_for_products();  // of the chunk before, which still read the other stage
    fence_shared_for_products();
    __syncthreads();
    slots &= slots - 1;
    const int next_slot = __ffs(static_cast<int>(slots)) - 1;
    if (slots != 0) copies.start(__shfl_sync(0xFFFFFFFF, my_chunk, next_slot), next_copied);
    const float weight = __shfl_sync(0xFFFFFFFF, my_weight, slot);

    float scores[kKeyTiles][4];
    fence_registers_for_products();
    multiply<kKeys, false, false>(scores, q[0], key_operand.at(0));
#pragma unroll
    for (int step = 1; step < kHeadDim / 16; ++step)
      multiply<kKeys, false, true>(scores, q[step],
                                   key_operand.at(step / 4 * Tile::kPanelBytes + step % 4 * 32));
    commit_products();
    wait_for_products();
    hold(scores);

    if (masks) {
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) scores[j][e] = 8 * j + (e & 1) < tail ? scores[j][e] : -INFINITY;
      }
    }

    float negative2[2], sum[2];  // less the largest score times log2 e; of rows lane / 4 and 8 below it
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = least;
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j)
        largest = fmaxf(largest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      negative2[half] = row_max(largest) * -scale2;
#pragma unroll
      for (int j = 0; j < kKeyTiles; ++j) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          scores[j][e] = exp2_fast(fmaf(scores[j][e], scale2, negative2[half]));
          sum[half] = j == 0 && e == 2 * half ? scores[j][e] : sum[half] + scores[j][e];
        }
      }
    }
    // Of the row that the lane speaks for.
    const float its_negative2 = is_lower != 0 ? negative2[1] : negative2[0];
    float its_sum = is_lower != 0 ? sum[1] : sum[0];
    its_sum += __shfl_xor_sync(0xFFFFFFFF, is_lower != 0 ? sum[0] : sum[1], 1);
    its_sum += __shfl_xor_sync(0xFFFFFFFF, its_sum, 2);
    its_sum += exp2_fast(its_negative2 + one_log2);
    const float its_factor = weight * reciprocal_fast(its_sum);
    const float factor[2] = {__shfl_sync(0xFFFFFFFF, its_factor, 0, 4),
                             __shfl_sync(0xFFFFFFFF, its_factor, 1, 4)};
    if (writes_lse != 0)
      store_global(advance(lse, slot, lse_slot_bytes), (log2_fast(its_sum) - its_negative2) * kLn2);

    uint32_t probabilities[kKeys / 16][4];
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair_of = &scores[2 * step + i / 2][i % 2 * 2];
        probabilities[step][i] = pack_bf16(pair_of[0] * factor[i % 2], pair_of[1] * factor[i % 2]);
      }
    }
    hold(probabilities);
    const SharedOperand value_operand = key_operand.behind(Tile::kBytes, Tile::kPanelBytes);
    fence_registers_for_products();
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step)
      multiply<kHeadDim, true, true>(out, probabilities[step],
                                     value_operand.at(step * 16 * Tile::Panel::kRowBytes));
    commit_products();
    slot = next_slot;
    const SharedOperand operand = key_operand;
    key_operand = next_operand;
    next_operand = operand;
    const uint32_t stage = copied;
    copied = next_copied;
    next_copied = stage;
  }
  wait_for_products();
  hold(out);

  // Through where the queries were: the lane that gave a row to load_matrices gives it here.
#pragma unroll
  for (int step = 0; step < kHeadDim / 16; ++step) {
    const auto& left = out[2 * step];
    const auto& right = out[2 * step + 1];
    store_matrices(Queries::column_step(matrix, step), pack_bf16(left[0], left[1]),
                   pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]), pack_bf16(right[2], right[3]));
  }
  __syncwarp();
  Bf16* first_out = p.out + first_of(p.out_strides);
#pragma unroll
  for (int i = 0; i < kRowSteps; ++i) {
    if (out_offset[i] >= 0) store_global(advance(first_out, out_offset[i], 2), load_shared(place_of(i)));
  }
}

}  // namespace gca::cuda
