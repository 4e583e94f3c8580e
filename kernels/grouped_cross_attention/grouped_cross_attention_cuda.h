#pragma once
// Arguments and launch shapes of the CUDA kernels of grouped cross-attention (the contract:
// grouped_cross_attention.h). Plain data: included by the kernels, by the binding to tensors, and by tests
// that run the kernels' PTX.
//
// All matrices are bfloat16 with head_dim elements side by side and rows aligned to 16 bytes; other strides
// are free, in elements. A block serves one reading row (the positions that read with one list of chunks) and
// one key/value head: its tile's rows are the pairs (query head of the group, position), heads first, so
// chunks are read once for all heads that share them.

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

/// What forward and backward share.
struct GcaShape {
  int32_t batch = 0;         // B
  int32_t positions = 0;     // n
  int32_t heads = 0;         // H
  int32_t kv_heads = 0;      // H_kv
  int32_t chunks = 0;        // C
  int32_t keys = 0;          // M, at most 128
  int32_t head_dim = 0;      // dh: 32, 64 or 128
  int32_t rows = 0;          // R, reading rows
  int32_t slots = 0;         // K, at most 32
  int32_t chunk_size = 0;    // S, at most 128
  int32_t first_offset = 0;  // of position 0 in its chunk
  float scale = 1;
  int32_t softmax_one = 0;
};

struct GcaStrides {  // of (B, n, H, dh)
  int64_t batch = 0, position = 0, head = 0;
};
struct GcaChunkStrides {  // of (B, C, M, H_kv, dh)
  int64_t batch = 0, chunk = 0, key = 0, head = 0;
};
struct GcaStatStrides {  // of (B, n, H, K) float; positions side by side
  int64_t batch = 0, head = 0, slot = 0;
};

struct GcaForwardParams {
  GcaShape shape;
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const int32_t* idx = nullptr;  // (B, R, K); outside of [0, C) is none
  const float* w = nullptr;      // (B, R, K)
  Bf16* out = nullptr;
  float* lse = nullptr;  // null: not wanted
  GcaStrides q_strides, out_strides;
  GcaChunkStrides k_strides, v_strides;
  GcaStatStrides lse_strides;
};

/// The template arguments of the kernel that takes a shape.
struct GcaForwardVariant {
  int head_dim;   // kHeadDim
  int keys;       // kKeys: M rounded up
  int row_tiles;  // kRowTiles: tiles of 16 rows a warp holds
};

inline int round_up_keys(int keys) {
  return keys <= 16 ? 16 : keys <= 32 ? 32 : keys <= 64 ? 64 : 128;
}

inline GcaForwardVariant gca_forward_variant(const GcaShape& shape) {
  const int keys = round_up_keys(shape.keys);
  return {shape.head_dim, keys, shape.head_dim <= 64 && keys <= 64 ? 2 : 1};
}

/// Warps of a block that serves `rows` rows, `warp_rows` each: whole steps of copying (64 threads, 128 for
/// rows of 256 bytes), at most eight; and the number of such blocks.
struct WarpPlan {
  int64_t warps, blocks;
};
inline WarpPlan plan_warps(int64_t rows, int64_t warp_rows, int head_dim) {
  const int64_t step = head_dim == 128 ? 4 : 2;
  const int64_t steps = ceil_div(rows, step * warp_rows);
  const int64_t blocks = ceil_div(steps * step, 8);
  return {ceil_div(steps, blocks) * step, blocks};
}

inline LaunchShape gca_forward_launch_shape(const GcaShape& shape) {
  const GcaForwardVariant variant = gca_forward_variant(shape);
  const int64_t warp_rows = 16 * variant.row_tiles;
  const WarpPlan plan =
      plan_warps(int64_t{shape.chunk_size} * (shape.heads / shape.kv_heads), warp_rows, shape.head_dim);
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.rows * plan.blocks);
  result.grid_y = static_cast<uint32_t>(shape.kv_heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(32 * plan.warps);
  // Two stages of keys and values, and the block's queries.
  result.shared_bytes =
      static_cast<uint32_t>(2 * shape.head_dim * (4 * variant.keys + plan.warps * warp_rows));
  return result;
}

// ---- forward by the tensor cores of Hopper (compute capability 9): the same arguments

inline bool gca_forward_sm90_takes(const GcaForwardParams& p) {
  // Strides are multiplied as 32-bit numbers, some of them in bytes.
  constexpr int64_t kLongest = int64_t{1} << 29;
  for (const GcaStrides& s : {p.q_strides, p.out_strides})
    if (std::max({s.batch, s.position, s.head}) >= kLongest) return false;
  for (const GcaChunkStrides& s : {p.k_strides, p.v_strides})
    if (std::max({s.batch, s.chunk, s.key, s.head}) >= kLongest) return false;
  if (std::max({p.lse_strides.batch, p.lse_strides.head, p.lse_strides.slot}) >= kLongest) return false;
  return (p.shape.head_dim == 64 || p.shape.head_dim == 128) && p.shape.chunk_size > 1;
}

/// Warpgroups (of 64 rows) that a block may have: their registers fill the register file.
constexpr int gca_forward_sm90_warpgroups(int head_dim, int keys) {
  return head_dim == 64 && keys <= 64 ? 4 : 2;
}

inline LaunchShape gca_forward_sm90_launch_shape(const GcaShape& shape) {
  const int keys = round_up_keys(shape.keys);
  const int64_t rows = int64_t{shape.chunk_size} * (shape.heads / shape.kv_heads);
  const int64_t warpgroups = ceil_div(rows, 64);
  const int64_t blocks = ceil_div(warpgroups, gca_forward_sm90_warpgroups(shape.head_dim, keys));
  const int64_t of_block = ceil_div(warpgroups, blocks);
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.rows * blocks);
  result.grid_y = static_cast<uint32_t>(shape.kv_heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(128 * of_block);
  // Two stages of keys and values, and the block's queries.
  result.shared_bytes = static_cast<uint32_t>(2 * shape.head_dim * (4 * keys + of_block * 64));
  return result;
}

// ---- backward, first pass: dq, and for the second pass delta = <dO, o_k>; dw as partial sums

struct GcaBackwardQueriesParams {
  GcaShape shape;
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const Bf16* dout = nullptr;
  const int32_t* idx = nullptr;
  const float* w = nullptr;
  const float* lse = nullptr;
  Bf16* dq = nullptr;
  float* delta = nullptr;       // strides of lse
  float* dw_partial = nullptr;  // (gca_weight_partials(), B, R, K), written where idx is a chunk
  GcaStrides q_strides, dout_strides, dq_strides;
  GcaChunkStrides k_strides, v_strides;
  GcaStatStrides lse_strides;
};

inline LaunchShape gca_backward_queries_launch_shape(const GcaShape& shape) {
  const WarpPlan plan =
      plan_warps(int64_t{shape.chunk_size} * (shape.heads / shape.kv_heads), 16, shape.head_dim);
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.rows * plan.blocks);
  result.grid_y = static_cast<uint32_t>(shape.kv_heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(32 * plan.warps);
  // Two stages of keys and values; the block's rows of q and dout.
  result.shared_bytes =
      static_cast<uint32_t>(2 * shape.head_dim * (4 * round_up_keys(shape.keys) + 2 * 16 * plan.warps));
  return result;
}

/// Parts of each dw: one a warp of every block that reads with the list.
inline int64_t gca_weight_partials(const GcaShape& shape) {
  const WarpPlan plan =
      plan_warps(int64_t{shape.chunk_size} * (shape.heads / shape.kv_heads), 16, shape.head_dim);
  return plan.warps * plan.blocks * shape.kv_heads;
}

/// dw (B, R, K) = sum of its parts, in order; 0 where idx is none.
struct GcaReduceWeightsParams {
  const float* dw_partial = nullptr;
  const int32_t* idx = nullptr;
  float* dw = nullptr;
  int64_t size = 0;  // B R K
  int32_t partials = 0;
  int32_t chunks = 0;
};

inline LaunchShape gca_reduce_weights_launch_shape(int64_t size) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(size, 128));
  result.threads = 128;
  return result;
}

// ---- the inverse index: for every chunk the entries row * K + slot of the lists that hold it, in order

struct GcaReadersParams {
  const int32_t* idx = nullptr;                // (B, R, K)
  int32_t* offsets = nullptr;                  // (B, C + 1)
  int32_t* readers = nullptr;                  // (B, R K)
  int32_t batch = 0, entries = 0, chunks = 0;  // entries: R K
};

inline LaunchShape gca_readers_launch_shape(int32_t batch, int32_t chunks) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(chunks, 4));
  result.grid_y = static_cast<uint32_t>(batch);
  result.threads = 128;  // a warp a chunk
  return result;
}

// ---- backward, second pass: dk and dv of a chunk from its readers

struct GcaBackwardChunksParams {
  GcaShape shape;
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const Bf16* dout = nullptr;
  const float* w = nullptr;
  const float* lse = nullptr;
  const float* delta = nullptr;
  const int32_t* offsets = nullptr;
  const int32_t* readers = nullptr;
  Bf16* dk = nullptr;
  Bf16* dv = nullptr;
  GcaStrides q_strides, dout_strides;
  GcaChunkStrides k_strides, v_strides, dk_strides, dv_strides;
  GcaStatStrides lse_strides;  // of delta, too
};

/// Queries of a tile of the second pass.
inline int gca_chunk_queries(int head_dim) {
  return head_dim == 128 ? 32 : 64;
}

inline LaunchShape gca_backward_chunks_launch_shape(const GcaShape& shape) {
  const int keys = round_up_keys(shape.keys);
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.chunks);
  result.grid_y = static_cast<uint32_t>(shape.kv_heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(keys * 2);  // a warp for 16 keys
  // The chunk's keys and values; two stages of q, dout (rows) and of weight, lse, delta (three floats a row, on four).
  result.shared_bytes =
      static_cast<uint32_t>(2 * shape.head_dim * (2 * keys + 4 * gca_chunk_queries(shape.head_dim)) +
                            2 * 16 * gca_chunk_queries(shape.head_dim));
  return result;
}

// ---- decoding: one position

/// out (B, 1, H, dh), every chunk of the list in a block of its own; then the chunks' parts are added in the
/// order of the list.
struct GcaDecodeParams {
  GcaShape shape;  // positions = 1, rows = 1
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const int32_t* idx = nullptr;  // (B, 1, K)
  const float* w = nullptr;
  float* parts = nullptr;  // (B, H, K, dh): w_k o_k
  Bf16* out = nullptr;
  GcaStrides q_strides, out_strides;
  GcaChunkStrides k_strides, v_strides;
};

/// Warps of a block: one a query head of the group, at most four.
inline int gca_decode_warps(const GcaShape& shape) {
  const int group = shape.heads / shape.kv_heads;
  return group < 4 ? group : 4;
}
inline LaunchShape gca_decode_launch_shape(const GcaShape& shape) {
  LaunchShape result;
  const int keys = round_up_keys(shape.keys);
  result.grid_x = static_cast<uint32_t>(shape.slots);
  result.grid_y = static_cast<uint32_t>(shape.kv_heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(32 * gca_decode_warps(shape));
  result.shared_bytes =
      static_cast<uint32_t>(2 * 2 * shape.head_dim * keys + 4 * keys * gca_decode_warps(shape));
  return result;
}
inline LaunchShape gca_decode_sum_launch_shape(const GcaShape& shape) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.heads);
  result.grid_y = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(shape.head_dim);
  return result;
}

/// Launches on a CUDA stream; the error of the launch (a cudaError_t), 0 for none. Shapes and strides are the
/// caller's to check.
int launch_gca_forward(const GcaForwardParams& params, void* stream);
int launch_gca_forward_sm90(const GcaForwardParams& params, void* stream);
int launch_gca_backward_queries(const GcaBackwardQueriesParams& params, void* stream);
int launch_gca_reduce_weights(const GcaReduceWeightsParams& params, void* stream);
int launch_gca_readers(const GcaReadersParams& params, void* stream);
int launch_gca_backward_chunks(const GcaBackwardChunksParams& params, void* stream);
/// Both kernels of decoding.
int launch_gca_decode(const GcaDecodeParams& params, void* stream);

}  // namespace gca::cuda
