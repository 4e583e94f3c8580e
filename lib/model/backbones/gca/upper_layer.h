#pragma once
// A layer of the upper decoder (arXiv 2410.01651, section 3.2):
//
//   a  = h + SelfAttn( RMSNorm(h) )
//   o  = W_o GCA( W_q RMSNorm_gca(a), chunk memory, I, w )
//   m  = RMSNorm( a + o )
//   h' = a + lambda o + MLP( m )          lambda = 0: the paper's; the retrieved signal enters through the
//   MLP only

#include <ATen/core/Tensor.h>

#include <string>

#include "lib/model/layers/transformer_layer.h"
#include "lib/model/memory/chunk_memory.h"

namespace gca::model {

/// What a segment's positions read: one row per chunk that the segment touches.
struct Reading {
  ChunkView chunks;          ///< idx (B, R, K)
  at::Tensor weights;        ///< (B, R, K), masters' type
  int64_t first_offset = 0;  ///< place of the segment's first position in its chunk
};

struct UpperLayerOutput {
  Residual h;    ///< h'
  at::Tensor a;  ///< (B, n, d)
  at::Tensor o;  ///< (B, n, d), after W_o
};

struct UpperLayer {
  Norm attn_norm;
  AttentionWeights attn;
  Norm gca_norm;
  Weight gca_wq, gca_wo;  // (d, d)
  Norm mlp_norm;
  MlpWeights mlp;

  static UpperLayer claim(WeightBuilder& builder, const std::string& prefix, const ModelConfig& config);
  UpperLayerOutput forward(const Residual& in, const at::Tensor& slopes, const Reading& reading,
                           const ModelConfig& config, WindowCache* window,
                           parallel::Communicator* text_ranks) const;
};

}  // namespace gca::model
