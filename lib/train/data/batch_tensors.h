#pragma once
// A Batch of lib/data as tensors.

#include <ATen/core/Tensor.h>

#include "lib/data/sequence_loader.h"

namespace gca::train {

struct BatchTensors {
  at::Tensor ids;      ///< (B, L) int64
  at::Tensor targets;  ///< (B, L) int64, negative where there is none
};

BatchTensors to_tensors(const data::Batch& batch);

/// For ForwardOptions::chunk_vectors: (B, C, e) float32; undefined where the batch has none.
at::Tensor chunk_vectors_of(const data::Batch& batch);

}  // namespace gca::train
