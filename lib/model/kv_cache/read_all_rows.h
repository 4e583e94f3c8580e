#pragma once
// Attention over all rows that a cache holds.

#include <ATen/core/Tensor.h>

#include "lib/model/kv_cache/attention_settings.h"
#include "lib/model/kv_cache/kv_store.h"

namespace gca::model {

/// Of the last n positions, q (B, n, H, dh), each over the rows up to its own: (B, n, H, dh).
at::Tensor read_all_rows(const at::Tensor& q, const StoredRows& rows, const AttentionSettings& settings);

}  // namespace gca::model
