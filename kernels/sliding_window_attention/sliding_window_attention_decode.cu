// Sliding-window attention of one position over a ring of keys and values.
//
// Bound by the memory that holds the window. A block is 64 keys of one head, a single warp, so W = 512 gives
// nine blocks a head; a second kernel joins their maxima, sums and values in order.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/single_query.cuh"
#include "kernels/sliding_window_attention/sliding_window_attention_cuda.h"

namespace gca::cuda {

template <int kHeadDim>
__global__ void __launch_bounds__(32) window_decode_kernel(const __grid_constant__ WindowDecodeParams p) {
  using Tile = SharedTile<kHeadDim>;
  extern __shared__ __align__(128) uint8_t shared[];
  const WindowShape& shape = p.shape;
  const int lane = threadIdx.x;
  const int head = blockIdx.y;
  const int batch = blockIdx.z;
  const int first_key = max(0, shape.past - shape.window) + static_cast<int>(blockIdx.x) * kWindowKeys;
  const int count = min(kWindowKeys, shape.past + 1 - first_key);

  const uint32_t keys = shared_address(shared);
  const uint32_t values = keys + kWindowKeys * Tile::kRowBytes;
  const Bf16* k = p.k + batch * p.k_strides.batch + head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + head * p.v_strides.head;
  for (int i = lane; i < count * Tile::kUnits; i += 32) {
    const int key = i / Tile::kUnits;
    const int unit = i % Tile::kUnits;
    int row = p.ring_begin + static_cast<int>(blockIdx.x) * kWindowKeys + key;  // less than two rounds
    if (row >= p.ring_rows) row -= p.ring_rows;
    copy_async(keys + Tile::offset(key, unit), k + row * p.k_strides.position + unit * 8);
    copy_async(values + Tile::offset(key, unit), v + row * p.v_strides.position + unit * 8);
  }
  commit_copies();
  wait_copies<0>();
  __syncwarp();

  float* passage = reinterpret_cast<float*>(shared + 2 * kWindowKeys * Tile::kRowBytes);
  const float scale2 = shape.scale * kLog2e;
  const float slope2 = p.slopes[head] * kLog2e;
  const SingleQuery<kHeadDim> read = attend_single<kHeadDim, kWindowKeys>(
      p.q + batch * p.q_strides.batch + head * p.q_strides.head, keys, values, count, -INFINITY, passage,
      lane, [&](int key, float product) {
        return fmaf(product, scale2, slope2 * static_cast<float>(first_key + key - shape.past));
      });

  float* part = p.parts + ((int64_t{batch} * shape.heads + head) * gridDim.x + blockIdx.x) * (kHeadDim + 2);
  constexpr int kColumns = SingleQuery<kHeadDim>::kColumns;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) part[lane * kColumns + c] = read.out[c];
  if (lane == 0) {
    part[kHeadDim] = read.largest2;
    part[kHeadDim + 1] = read.sum;
  }
}

__global__ void __launch_bounds__(128)
    window_decode_join_kernel(const __grid_constant__ WindowDecodeParams p, int segments) {
  const WindowShape& shape = p.shape;
  const int head = blockIdx.x;
  const int batch = blockIdx.y;
  const int column = threadIdx.x;
  const int row = shape.head_dim + 2;
  const float* parts = p.parts + (int64_t{batch} * shape.heads + head) * segments * row;
  float largest2 = -INFINITY;
  for (int i = 0; i < segments; ++i) largest2 = fmaxf(largest2, parts[i * row + shape.head_dim]);
  float sum = 0, out = 0;
  for (int i = 0; i < segments; ++i) {
    const float share = exp2_fast(parts[i * row + shape.head_dim] - largest2);
    sum = fmaf(parts[i * row + shape.head_dim + 1], share, sum);
    out = fmaf(parts[i * row + column], share, out);
  }
  reinterpret_cast<__nv_bfloat16*>(p.out)[batch * p.out_strides.batch + head * p.out_strides.head + column] =
      __float2bfloat16_rn(out / sum);
}

int launch_window_decode(const WindowDecodeParams& params, void* stream) {
  const LaunchShape shape = window_decode_launch_shape(params.shape);
  const int error = params.shape.head_dim == 32   ? launch(window_decode_kernel<32>, shape, stream, params)
                    : params.shape.head_dim == 64 ? launch(window_decode_kernel<64>, shape, stream, params)
                                                  : launch(window_decode_kernel<128>, shape, stream, params);
  if (error != 0) return error;
  return launch(window_decode_join_kernel, window_decode_join_launch_shape(params.shape), stream, params,
                window_decode_segments(params.shape));
}

}  // namespace gca::cuda
