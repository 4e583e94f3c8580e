#pragma once
// Arguments and launch shapes of the CUDA kernels of sliding-window attention (the contract:
// sliding_window_attention.h). Plain data: included by the kernels, by the binding to tensors, and by tests
// that run the kernels' PTX.
//
// All matrices are bfloat16 with head_dim elements side by side and rows aligned to 16 bytes; other strides
// are free, in elements.

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

struct WindowShape {
  int32_t batch = 0;
  int32_t positions = 0;  // n, queries
  int32_t past = 0;       // P, keys before the first query's own
  int32_t heads = 0;
  int32_t head_dim = 0;  // 32, 64 or 128
  int32_t window = 0;    // W: a position sees itself and the W before it
  float scale = 1;
};

struct WindowStrides {  // of (B, positions, H, dh)
  int64_t batch = 0, position = 0, head = 0;
};

constexpr int kWindowKeys = 64;  // of a tile

struct WindowForwardParams {
  WindowShape shape;
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const float* slopes = nullptr;  // (H)
  Bf16* out = nullptr;
  float* lse = nullptr;  // (B, H, n), or null
  WindowStrides q_strides, k_strides, v_strides, out_strides;
};

/// Queries of a block: 128, four warps of 32 rows, or with head_dim 128 eight of 16.
constexpr int kWindowForwardQueries = 128;

inline LaunchShape window_forward_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(shape.positions, kWindowForwardQueries));
  result.grid_y = static_cast<uint32_t>(shape.heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = shape.head_dim == 128 ? 256 : 128;
  result.shared_bytes = static_cast<uint32_t>(2 * shape.head_dim * (4 * kWindowKeys + kWindowForwardQueries));
  return result;
}

// ---- backward

/// D (B, H, n) = <dout, out>, a sum over the head.
struct WindowDotParams {
  WindowShape shape;
  const Bf16* out = nullptr;
  const Bf16* dout = nullptr;
  float* dot = nullptr;
  WindowStrides out_strides, dout_strides;
};

inline LaunchShape window_dot_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  const int64_t rows_of_block = 128 / (shape.head_dim / 8);  // a lane 8 elements
  result.grid_x =
      static_cast<uint32_t>(ceil_div(int64_t{shape.batch} * shape.positions * shape.heads, rows_of_block));
  result.threads = 128;
  return result;
}

struct WindowBackwardParams {
  WindowShape shape;
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;
  const Bf16* v = nullptr;
  const Bf16* dout = nullptr;
  const float* slopes = nullptr;
  const float* lse = nullptr;  // (B, H, n)
  const float* dot = nullptr;  // (B, H, n)
  Bf16* dq = nullptr;          // first pass
  Bf16* dk = nullptr;          // second pass
  Bf16* dv = nullptr;
  WindowStrides q_strides, k_strides, v_strides, dout_strides, dq_strides, dk_strides, dv_strides;
};

inline LaunchShape window_backward_queries_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(shape.positions, 64));
  result.grid_y = static_cast<uint32_t>(shape.heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = 128;
  result.shared_bytes = static_cast<uint32_t>(2 * shape.head_dim * (4 * kWindowKeys + 2 * 64));
  return result;
}

/// Queries of a tile of the second pass.
inline int window_tile_queries(int head_dim) {
  return head_dim == 128 ? 32 : 64;
}

inline LaunchShape window_backward_keys_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  const int queries = window_tile_queries(shape.head_dim);
  result.grid_x = static_cast<uint32_t>(ceil_div(shape.past + shape.positions, kWindowKeys));
  result.grid_y = static_cast<uint32_t>(shape.heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = 128;
  result.shared_bytes =
      static_cast<uint32_t>(2 * shape.head_dim * (2 * kWindowKeys + 4 * queries) + 2 * 8 * queries);
  return result;
}

// ---- decoding: one position

/// out (B, 1, H, dh) of a query over P + 1 keys, the last its own. Keys and values may lie in a ring of rows:
/// the first key that the query sees is row ring_begin, row 0 follows row ring_rows - 1. Segments of 64 keys
/// are blocks of their own; their parts are joined in order.
struct WindowDecodeParams {
  WindowShape shape;  // positions = 1
  const Bf16* q = nullptr;
  const Bf16* k = nullptr;  // (B, ring_rows, H, dh)
  const Bf16* v = nullptr;
  const float* slopes = nullptr;
  float* parts = nullptr;  // (B, H, segments, dh + 2): sum over values, maximum, sum
  Bf16* out = nullptr;
  int32_t ring_rows = 0;
  int32_t ring_begin = 0;
  WindowStrides q_strides, k_strides, v_strides, out_strides;
};

/// Keys that the query sees, from the first on.
inline int window_decode_first_key(const WindowShape& shape) {
  return shape.past > shape.window ? shape.past - shape.window : 0;
}
inline int window_decode_segments(const WindowShape& shape) {
  return static_cast<int>(ceil_div(shape.past + 1 - window_decode_first_key(shape), kWindowKeys));
}
inline LaunchShape window_decode_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(window_decode_segments(shape));
  result.grid_y = static_cast<uint32_t>(shape.heads);
  result.grid_z = static_cast<uint32_t>(shape.batch);
  result.threads = 32;
  result.shared_bytes = static_cast<uint32_t>(2 * 2 * shape.head_dim * kWindowKeys + 4 * kWindowKeys);
  return result;
}
inline LaunchShape window_decode_join_launch_shape(const WindowShape& shape) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(shape.heads);
  result.grid_y = static_cast<uint32_t>(shape.batch);
  result.threads = static_cast<uint32_t>(shape.head_dim);
  return result;
}

/// The error of the launch (a cudaError_t), 0 for none. Shapes and strides are the caller's to check.
int launch_window_forward(const WindowForwardParams& params, void* stream);
int launch_window_dot(const WindowDotParams& params, void* stream);
int launch_window_backward_queries(const WindowBackwardParams& params, void* stream);
int launch_window_backward_keys(const WindowBackwardParams& params, void* stream);
/// Both kernels of decoding.
int launch_window_decode(const WindowDecodeParams& params, void* stream);

}  // namespace gca::cuda
