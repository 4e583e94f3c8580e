#pragma once
// The attention of memory_segment_attention.h at one text position inside a segment.

#include <ATen/core/Tensor.h>

#include <memory>

#include "lib/model/layers/row_history.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// What a layer keeps of the open segment.
struct OpenSegment {
  at::Tensor memory_keys, memory_values;  ///< of the read positions (B, M, H, dh); undefined before they ran
  RowHistory text_keys, text_values;
};

/// slopes (H) float32; all must outlive it.
std::unique_ptr<RowAttention> segment_row(OpenSegment& segment, const at::Tensor& slopes,
                                          const ModelConfig& config, at::ScalarType compute_dtype);

}  // namespace gca::model
