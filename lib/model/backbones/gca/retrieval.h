#pragma once
// Retrieval, once per chunk per group: the landmark's normalised hidden state scores every earlier chunk,
//   r_{t,c} = < RMSNorm_g(h_LMK of t), l_c > / sqrt(d)   for c < t,
// the top K are chosen, and weighted by a softmax over the chosen scores. With retriever=frozen r_{t,c} is the dot
// product of two chunk vectors (ForwardOptions::chunk_vectors) instead, and no noise is added to it.

#include <ATen/core/Tensor.h>

#include "lib/model/backbone.h"
#include "lib/model/forward_options.h"
#include "lib/model/layers/transformer_layer.h"
#include "lib/model/memory/chunk_memory.h"

namespace gca::model {

struct RetrievalResult {
  Choices choices;     ///< a row for each landmark; detached, scores as far as they were asked for
  at::Tensor weights;  ///< w, (B, c, K), 0 for none: what is read with; rounded where options say so
};

/// Without gradients and noise no score is kept but those of the K best
/// (kernels/landmark_topk/landmark_search.h), unless all are asked for.

/// Choices made at the landmarks of chunks first_chunk, first_chunk + 1, ...; h_landmark (B, c, d) are their
/// hidden states at the start of group g. All their chunks are in `memory` already.
RetrievalResult retrieve(const Norm& query_norm, const at::Tensor& h_landmark, const ChunkMemory& memory,
                         int64_t first_chunk, int64_t group, const ModelConfig& config,
                         const ForwardOptions& options);

}  // namespace gca::model
