#pragma once
// Sliding-window attention at one position.

#include <ATen/core/Tensor.h>

#include <memory>

#include "lib/model/layers/window_cache.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// Of the last W positions and this one, with ALiBi. slopes (H) float32; all must outlive it.
std::unique_ptr<RowAttention> window_row(WindowCache& window, const at::Tensor& slopes,
                                         const ModelConfig& config, at::ScalarType compute_dtype);

}  // namespace gca::model
