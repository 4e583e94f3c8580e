#pragma once
// One position of one text through layers whose keys and values a cache keeps: what decoding runs. The same
// arithmetic as FullLayer::forward, without its operators' overhead: between two attentions, which are the cache's
// own, a team of threads walks through all other steps together.

#include <ATen/core/Tensor.h>

#include <vector>

#include "lib/model/backbones/full/full_layer.h"
#include "lib/model/kv_cache/kv_cache.h"
#include "lib/model/model_config.h"

namespace gca::model {

/// True when decode_full_row() takes these layers: float32 or bf16 on the CPU, without biases.
bool can_decode_full_row(const std::vector<FullLayer>& layers);

/// Runs the position whose token has the embedding `embedding` (d, float32) and appends it to the cache: the hidden
/// state after the final norm, (1, 1, d) in the compute type.
at::Tensor decode_full_row(const std::vector<FullLayer>& layers, const Norm& final_norm,
                           const ModelConfig& config, KvCache& cache, const at::Tensor& embedding);

}  // namespace gca::model
