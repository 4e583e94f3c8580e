#pragma once
// Tensorized attention at one position, hop by hop.

#include <ATen/core/Tensor.h>

#include <memory>

#include "lib/model/backbones/tensorized/hop_history.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// slopes (H) float32 of the upper layers; all must outlive it.
std::unique_ptr<RowAttention> hop_row(HopHistory& history, const at::Tensor& slopes,
                                      const ModelConfig& config, at::ScalarType compute_dtype);

}  // namespace gca::model
