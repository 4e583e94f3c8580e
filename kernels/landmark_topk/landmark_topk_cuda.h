#pragma once
// Arguments and launch shapes of the CUDA kernels of the choice of chunks (the contracts: landmark_topk.h,
// gumbel_noise.h), and of the landmarks' scores where there is one query (decoding).

#include <cstdint>

#include "kernels/common/cuda/launch_shape.h"

namespace gca::cuda {

/// r (B, C) = <q, l_c> scale of one query a sequence. d a multiple of 8.
struct LandmarkScoresParams {
  const Bf16* q = nullptr;          // (B, d)
  const Bf16* landmarks = nullptr;  // (B, C, d)
  float* r = nullptr;
  int64_t landmark_batch = 0, landmark_row = 0;  // strides
  int32_t batch = 0, chunks = 0, d = 0;
  float scale = 1;
};

inline LaunchShape landmark_scores_launch_shape(int32_t batch, int32_t chunks) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(chunks, 4));
  result.grid_y = static_cast<uint32_t>(batch);
  result.threads = 128;  // a warp a landmark
  return result;
}

/// Where Gumbel noise is drawn: gumbel_noise.h.
struct GumbelParams {
  uint64_t seed = 0, step = 0;
  int32_t group = 0, batch_offset = 0, first_query = 0;
};

/// noise (B, R, C).
struct GumbelNoiseParams {
  GumbelParams at;
  float* noise = nullptr;
  int32_t batch = 0, rows = 0, chunks = 0;
};

/// A thread four candidates: one Philox block.
inline LaunchShape gumbel_noise_launch_shape(int32_t batch, int32_t rows, int32_t chunks) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(ceil_div(ceil_div(chunks, 4), 128));
  result.grid_y = static_cast<uint32_t>(rows);
  result.grid_z = static_cast<uint32_t>(batch);
  result.threads = 128;
  return result;
}

/// idx (B, R, K): the K best of r + noise over c < first_query + row, lower c first on a tie, -1 beyond them.
/// Rows longer than kTopkSegment go in two steps: the best of each segment, then the best of those.
struct LandmarkTopkParams {
  const float* r = nullptr;      // (B, R, C)
  const float* noise = nullptr;  // (B, R, C), or null
  int32_t draws_noise = 0;       // draw it here instead, times noise_scale
  GumbelParams at;
  float noise_scale = 1;
  uint64_t* keys = nullptr;  // (B, R, segments, K), where there are several segments
  int32_t* idx = nullptr;
  int32_t batch = 0, rows = 0, chunks = 0, slots = 0;
  int32_t first_query = 0;
};

constexpr int kTopkSegment = 4096;
inline int topk_segments(int32_t chunks) {
  return static_cast<int>(ceil_div(chunks, kTopkSegment));
}
/// Candidates that a thread of 128 holds.
inline int topk_candidates(int32_t chunks) {
  return chunks <= 512 ? 4 : 32;
}

inline LaunchShape landmark_topk_launch_shape(const LandmarkTopkParams& params) {
  LaunchShape result;
  result.grid_x = static_cast<uint32_t>(topk_segments(params.chunks));
  result.grid_y = static_cast<uint32_t>(params.rows);
  result.grid_z = static_cast<uint32_t>(params.batch);
  result.threads = 128;
  return result;
}
inline LaunchShape landmark_topk_join_launch_shape(const LandmarkTopkParams& params) {
  LaunchShape result = landmark_topk_launch_shape(params);
  result.grid_x = 1;
  return result;
}

int launch_landmark_scores(const LandmarkScoresParams& params, void* stream);
int launch_gumbel_noise(const GumbelNoiseParams& params, void* stream);
/// One kernel, or two for long rows: at most 1024 segments (4M chunks at K = 4; segments * K at most 4096).
int launch_landmark_topk(const LandmarkTopkParams& params, void* stream);

}  // namespace gca::cuda
