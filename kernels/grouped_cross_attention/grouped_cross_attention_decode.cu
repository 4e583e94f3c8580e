// Grouped cross-attention of one position: out = sum_k w_k o_k.
//
// Bound by the memory that holds the K chunks, once for all heads that share them. Each (chunk, key/value
// head) is a block, so even one sequence gives K H_kv of them; a warp takes a query head. The parts w_k o_k
// are added by a second kernel in the order of the list.
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/single_query.cuh"
#include "kernels/grouped_cross_attention/grouped_cross_attention_cuda.h"

namespace gca::cuda {

template <int kHeadDim, int kKeys>
__global__ void __launch_bounds__(128, 1) gca_decode_kernel(const __grid_constant__ GcaDecodeParams p) {
  using Tile = SharedTile<kHeadDim>;
  extern __shared__ __align__(128) uint8_t shared[];
  const GcaShape& shape = p.shape;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  const int slot = blockIdx.x;
  const int kv_head = blockIdx.y;
  const int batch = blockIdx.z;
  const int group = shape.heads / shape.kv_heads;
  const int64_t entry = int64_t{batch} * shape.slots + slot;
  const int chunk = p.idx[entry];
  if (chunk < 0 || chunk >= shape.chunks) return;

  const uint32_t keys = shared_address(shared);
  const uint32_t values = keys + kKeys * Tile::kRowBytes;
  const Bf16* k = p.k + batch * p.k_strides.batch + chunk * p.k_strides.chunk + kv_head * p.k_strides.head;
  const Bf16* v = p.v + batch * p.v_strides.batch + chunk * p.v_strides.chunk + kv_head * p.v_strides.head;
  for (int i = threadIdx.x; i < shape.keys * Tile::kUnits; i += blockDim.x) {
    const int key = i / Tile::kUnits;
    const int unit = i % Tile::kUnits;
    copy_async(keys + Tile::offset(key, unit), k + key * static_cast<int>(p.k_strides.key) + unit * 8);
    copy_async(values + Tile::offset(key, unit), v + key * static_cast<int>(p.v_strides.key) + unit * 8);
  }
  commit_copies();
  wait_copies<0>();
  __syncthreads();

  float* passage = reinterpret_cast<float*>(shared + 2 * kKeys * Tile::kRowBytes) + warp * kKeys;
  const float scale2 = shape.scale * kLog2e;
  for (int head = warp; head < group; head += blockDim.x / 32) {
    const int query_head = kv_head * group + head;
    const SingleQuery<kHeadDim> read =
        attend_single<kHeadDim, kKeys>(p.q + batch * p.q_strides.batch + query_head * p.q_strides.head, keys,
                                       values, shape.keys, shape.softmax_one ? 0.0F : -INFINITY, passage,
                                       lane, [&](int, float product) { return product * scale2; });
    const float sum = read.sum + (shape.softmax_one ? exp2_fast(-read.largest2) : 0.0F);
    const float factor = p.w[entry] / sum;
    float* part = p.parts + ((int64_t{batch} * shape.heads + query_head) * shape.slots + slot) * kHeadDim;
    constexpr int kColumns = SingleQuery<kHeadDim>::kColumns;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) part[lane * kColumns + c] = read.out[c] * factor;
    __syncwarp();  // the passage is free for the next head
  }
}

__global__ void __launch_bounds__(128) gca_decode_sum_kernel(const __grid_constant__ GcaDecodeParams p) {
  const GcaShape& shape = p.shape;
  const int head = blockIdx.x;
  const int batch = blockIdx.y;
  const int column = threadIdx.x;
  const float* part = p.parts + (int64_t{batch} * shape.heads + head) * shape.slots * shape.head_dim + column;
  float sum = 0;
  for (int slot = 0; slot < shape.slots; ++slot) {
    const int chunk = p.idx[int64_t{batch} * shape.slots + slot];
    if (chunk >= 0 && chunk < shape.chunks) sum += part[slot * shape.head_dim];
  }
  reinterpret_cast<__nv_bfloat16*>(p.out)[batch * p.out_strides.batch + head * p.out_strides.head + column] =
      __float2bfloat16_rn(sum);
}

namespace {

template <int kHeadDim>
int launch_head_dim(const GcaDecodeParams& params, void* stream) {
  const LaunchShape shape = gca_decode_launch_shape(params.shape);
  switch (round_up_keys(params.shape.keys)) {
    case 16:
      return launch(gca_decode_kernel<kHeadDim, 16>, shape, stream, params);
    case 32:
      return launch(gca_decode_kernel<kHeadDim, 32>, shape, stream, params);
    case 64:
      return launch(gca_decode_kernel<kHeadDim, 64>, shape, stream, params);
    default:
      return launch(gca_decode_kernel<kHeadDim, 128>, shape, stream, params);
  }
}

}  // namespace

int launch_gca_decode(const GcaDecodeParams& params, void* stream) {
  const int error = params.shape.head_dim == 32   ? launch_head_dim<32>(params, stream)
                    : params.shape.head_dim == 64 ? launch_head_dim<64>(params, stream)
                                                  : launch_head_dim<128>(params, stream);
  return error != 0
             ? error
             : launch(gca_decode_sum_kernel, gca_decode_sum_launch_shape(params.shape), stream, params);
}

}  // namespace gca::cuda
