#pragma once
// The attention of memory_attention.h at one position.

#include <memory>

#include "lib/model/backbones/fot/memory_attention.h"
#include "lib/model/layers/searched_rows.h"
#include "lib/model/model_config.h"
#include "lib/model/rows/row_attention.h"

namespace gca::model {

/// Reads the rows of a memory layer, which must outlive it.
std::unique_ptr<RowAttention> memory_row(SearchedRows& rows, const MemoryRange& range,
                                         const ModelConfig& config, at::ScalarType compute_dtype);

}  // namespace gca::model
