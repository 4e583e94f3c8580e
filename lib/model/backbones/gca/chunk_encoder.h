#pragma once
// The chunk encoder: every closed chunk alone, bidirectional, rotary positions 0..S-1. Its landmark row
// becomes the chunk's landmark embedding, its text rows the chunk's keys and values, once for all upper
// layers.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "lib/model/layers/transformer_layer.h"

namespace gca::model {

struct EncodedChunks {
  at::Tensor encoded;    ///< E, (B, c, S, d)
  at::Tensor landmarks;  ///< l, (B, c, d), masters' type: retrieval scores depend on small differences
  at::Tensor keys;       ///< (B, c, S-1, H_kv, dh), compute type
  at::Tensor values;     ///< (B, c, S-1, H_kv, dh), compute type
};

struct ChunkEncoder {
  Norm in_norm;  // of the lower decoder's output, with the decoder's epsilon
  std::vector<DecoderLayer> layers;
  Norm out_norm;
  Weight wk, wv;  // (H_kv dh, d)

  static ChunkEncoder claim(WeightBuilder& builder, const ModelConfig& config);
  /// h_low (B, c S, d): whole chunks.
  EncodedChunks forward(const at::Tensor& h_low, const std::shared_ptr<const ModelConfig>& config,
                        bool recompute_activations) const;
};

}  // namespace gca::model
