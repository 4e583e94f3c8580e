#pragma once
// Memory layers at inference: the local context so far and, of all positions before it, the keys with the
// highest scores.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::model {

/// The last m of P + m positions, in one softmax without positions: position i sees j of its local context, j
/// <= i, and of those before it, which end at n (i div n), the top_k best of each query and head; all with
/// top_k 0 or where there are no more. Of equal scores the earlier position is chosen.
///   q (B, m, H, dh)   k, v (B, P + m, H, dh)  ->  (B, m, H, dh).   No gradients.
at::Tensor memory_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t local_context, int64_t top_k, double scale);

}  // namespace gca::model
