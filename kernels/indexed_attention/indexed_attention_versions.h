#pragma once
// The versions of indexed attention, one signature. Arguments have been checked; the list is contiguous.

#include "kernels/indexed_attention/indexed_attention.h"

namespace gca::kernels {

/// Queries in float32, bfloat16 and double.
IndexedAttention indexed_attention_reference(const at::Tensor& q, const CachedRows& cached,
                                             const IndexedRows& rows, const at::Tensor& slopes, double scale,
                                             bool with_column_sums);

/// Queries in float32 and bfloat16; rows of dh elements side by side.
IndexedAttention indexed_attention_cpu(const at::Tensor& q, const CachedRows& cached, const IndexedRows& rows,
                                       const at::Tensor& slopes, double scale, bool with_column_sums);

}  // namespace gca::kernels
