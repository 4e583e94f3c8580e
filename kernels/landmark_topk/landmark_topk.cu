// The choice of chunks. A candidate is one 64-bit number, its score in an order that integers keep above and
// the complement of its number below, so the largest number is the best candidate and no two are equal. A
// block holds a segment in registers, 4 or 32 candidates a thread, and takes the maximum K times; only the
// thread that owned it looks through its own again.
//
//   scores   bound by the memory that holds the landmarks, read once
//   top K    bound by K rounds of a block's maximum; reads r once
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/vector_memory.cuh"
#include "kernels/common/philox.h"
#include "kernels/landmark_topk/landmark_topk_cuda.h"

namespace gca::cuda {
namespace {

/// Orders as floats do, -inf lowest; NaN counts as -inf. Never 0, which is not a candidate.
__device__ __forceinline__ uint64_t candidate_key(float score, int number) {
  if (score != score) score = -INFINITY;
  score += 0.0F;  // -0 ties with 0
  const uint32_t bits = __float_as_uint(score);
  const uint32_t ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<uint64_t>(ordered) << 32 | (0xFFFFFFFFU - static_cast<uint32_t>(number));
}

__device__ __forceinline__ PhiloxBlock gumbel_block(const GumbelParams& at, int batch, int row, int four) {
  const uint64_t base = static_cast<uint64_t>(at.group) << 60 |
                        static_cast<uint64_t>(at.batch_offset + batch) << 44 |
                        static_cast<uint64_t>(at.first_query + row) << 22;
  return philox_block(at.seed, RandomStream::gumbel, at.step, base | static_cast<uint64_t>(four));
}
__device__ __forceinline__ float gumbel(uint32_t word) {
  return -logf(-logf(open_unit_float(word)));
}

/// The block's K best keys, falling, to `take(slot, key)` by thread 0; 0 where there are no more.
template <int kCandidates, class Take>
__device__ __forceinline__ void take_best(uint64_t (&keys)[kCandidates], int slots, Take take) {
  __shared__ uint64_t warp_best[2][4];
  uint64_t mine = 0;
#pragma unroll
  for (int i = 0; i < kCandidates; ++i) mine = max(mine, keys[i]);
  for (int slot = 0; slot < slots; ++slot) {
    uint64_t best = mine;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
      best = max(best, __shfl_xor_sync(0xFFFFFFFF, best, distance));
    // Two places in turn: one barrier a round.
    if ((threadIdx.x & 31) == 0) warp_best[slot & 1][threadIdx.x >> 5] = best;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < 4; ++warp) best = max(best, warp_best[slot & 1][warp]);
    if (threadIdx.x == 0) take(slot, best);
    if (best == mine) {
      mine = 0;
#pragma unroll
      for (int i = 0; i < kCandidates; ++i) {
        if (keys[i] == best) keys[i] = 0;
        mine = max(mine, keys[i]);
      }
    }
  }
}

__device__ __forceinline__ int number_of(uint64_t key) {
  return key == 0 ? -1 : static_cast<int>(0xFFFFFFFFU - static_cast<uint32_t>(key));
}

}  // namespace

__global__ void __launch_bounds__(128)
    landmark_scores_kernel(const __grid_constant__ LandmarkScoresParams p) {
  const int lane = threadIdx.x & 31;
  const int chunk = static_cast<int>(blockIdx.x) * 4 + (threadIdx.x >> 5);
  const int batch = blockIdx.y;
  if (chunk >= p.chunks) return;
  const Bf16* landmark = p.landmarks + batch * p.landmark_batch + chunk * p.landmark_row;
  const Bf16* q = p.q + int64_t{batch} * p.d;
  float sum = 0;
  for (int i = lane * 8; i < p.d; i += 32 * 8) {
    const uint4 a = *reinterpret_cast<const uint4*>(landmark + i);
    const uint4 b = *reinterpret_cast<const uint4*>(q + i);
    const auto add = [&](uint32_t x, uint32_t y) {
      sum = fmaf(bf16_high(x), bf16_high(y), fmaf(bf16_low(x), bf16_low(y), sum));
    };
    add(a.x, b.x);
    add(a.y, b.y);
    add(a.z, b.z);
    add(a.w, b.w);
  }
  sum = warp_sum(sum);
  if (lane == 0) p.r[int64_t{batch} * p.chunks + chunk] = sum * p.scale;
}

__global__ void __launch_bounds__(128) gumbel_noise_kernel(const __grid_constant__ GumbelNoiseParams p) {
  const int four = blockIdx.x * 128 + threadIdx.x;
  const int row = blockIdx.y;
  const int batch = blockIdx.z;
  if (four * 4 >= p.chunks) return;
  const PhiloxBlock block = gumbel_block(p.at, batch, row, four);
  float* noise = p.noise + (int64_t{batch} * p.rows + row) * p.chunks + four * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (four * 4 + i < p.chunks) noise[i] = gumbel(block.word[i]);
  }
}

template <int kCandidates>
__global__ void __launch_bounds__(128) landmark_topk_kernel(const __grid_constant__ LandmarkTopkParams p) {
  const int segment = blockIdx.x;
  const int row = blockIdx.y;
  const int batch = blockIdx.z;
  const int candidates = min(p.first_query + row, p.chunks);
  const int64_t line = int64_t{batch} * p.rows + row;
  const float* r = p.r + line * p.chunks;
  const float* noise = p.noise == nullptr ? nullptr : p.noise + line * p.chunks;
  uint64_t keys[kCandidates];
  // Four neighbours a thread: they share a Philox block.
#pragma unroll
  for (int i = 0; i < kCandidates; i += 4) {
    const int first = segment * kTopkSegment + (i / 4 * 128 + static_cast<int>(threadIdx.x)) * 4;
    PhiloxBlock block = {};
    if (p.draws_noise && first < candidates) block = gumbel_block(p.at, batch, row, first / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      keys[i + k] = 0;
      if (first + k >= candidates) continue;
      float score = r[first + k];
      if (noise != nullptr) score += noise[first + k];
      if (p.draws_noise) score += gumbel(block.word[k]) * p.noise_scale;
      keys[i + k] = candidate_key(score, first + k);
    }
  }
  take_best(keys, p.slots, [&](int slot, uint64_t key) {
    if (gridDim.x == 1)
      p.idx[line * p.slots + slot] = number_of(key);
    else
      p.keys[(line * gridDim.x + segment) * p.slots + slot] = key;
  });
}

/// The best of the segments' best.
__global__ void __launch_bounds__(128)
    landmark_topk_join_kernel(const __grid_constant__ LandmarkTopkParams p, int segments) {
  const int64_t line = int64_t{blockIdx.z} * p.rows + blockIdx.y;
  uint64_t keys[32];
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int place = i * 128 + static_cast<int>(threadIdx.x);
    keys[i] = place < segments * p.slots ? p.keys[line * segments * p.slots + place] : 0;
  }
  take_best(keys, p.slots, [&](int slot, uint64_t key) { p.idx[line * p.slots + slot] = number_of(key); });
}

int launch_landmark_scores(const LandmarkScoresParams& params, void* stream) {
  return launch(landmark_scores_kernel, landmark_scores_launch_shape(params.batch, params.chunks), stream,
                params);
}

int launch_gumbel_noise(const GumbelNoiseParams& params, void* stream) {
  return launch(gumbel_noise_kernel, gumbel_noise_launch_shape(params.batch, params.rows, params.chunks),
                stream, params);
}

int launch_landmark_topk(const LandmarkTopkParams& params, void* stream) {
  const LaunchShape shape = landmark_topk_launch_shape(params);
  const int error = topk_candidates(params.chunks) == 4
                        ? launch(landmark_topk_kernel<4>, shape, stream, params)
                        : launch(landmark_topk_kernel<32>, shape, stream, params);
  if (error != 0 || shape.grid_x == 1) return error;
  return launch(landmark_topk_join_kernel, landmark_topk_join_launch_shape(params), stream, params,
                topk_segments(params.chunks));
}

}  // namespace gca::cuda
