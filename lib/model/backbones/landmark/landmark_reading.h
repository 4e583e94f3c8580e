#pragma once
// Landmark attention at inference: text is cut into local segments of P positions. A position sees its
// segment so far and, of the blocks before the segment, the K whose landmarks it scores highest; the grouped
// softmax (kernels/landmark_attention) goes over both.

#include <ATen/core/Tensor.h>

#include "lib/model/layers/key_index.h"
#include "lib/model/model_config.h"

namespace gca::model {

struct LandmarkReadingSettings {
  int64_t block_size = 2;  ///< S
  int64_t top_k = 1;       ///< K; 0: the segment alone is read
  int64_t local_size = 2;  ///< P, a multiple of S
  bool all_heads = false;  ///< one choice for all heads
  double theta = 0;        ///< rotary base; 0: no positions
  double scale = 1;

  static LandmarkReadingSettings of(const ModelConfig& config);
};

/// Keys (B, n, H, dh) as landmark_reading() reads them, the first at `position` of the text: rotated by their
/// place in their block, so that where a block stands is a rotation of its queries.
at::Tensor keys_in_blocks(const at::Tensor& keys, int64_t position, const LandmarkReadingSettings& settings);

/// Those of landmarks (B, n / S, H, dh), of keys (B, n, H, dh) from the beginning of the text: a view.
at::Tensor landmarks_of(const at::Tensor& keys, const LandmarkReadingSettings& settings);

struct LandmarkReading {
  at::Tensor out;     ///< (B, m, H, dh), type of q
  at::Tensor blocks;  ///< (B, m, H, K) int32: chosen blocks in the order of the text, -1 for none
  at::Tensor shares;  ///< (B, m, H, K): of the softmax, what each of them has, 0 for none; the rest is local
};

/// The last m of P + m positions from the beginning of the text. In a segment that c blocks come before,
/// rotary positions are those of slots of S: the segment begins at slot min(c, K + 1); the r-th chosen block
/// is at slot r, one later where it is among the K newest of more than K; for the ranking the K newest
/// landmarks are at slots 1 to K, all older ones at 0.
///   q (B, m, H, dh) not rotated   keys, values (B, P + m, H, dh), keys as keys_in_blocks() makes them
/// No gradients. An `index` that has followed landmarks_of(keys) saves time and changes nothing else.
LandmarkReading landmark_reading(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                                 const LandmarkReadingSettings& settings, const KeyIndex& index = {});

}  // namespace gca::model
