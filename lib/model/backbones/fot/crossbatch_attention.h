#pragma once
// Memory layers while they train ("crossbatch", Tworkowski et al., arXiv 2307.03170): local contexts see
// contexts before them in the batch, first their own row's, then other texts', which they learn to tell
// apart.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::model {

struct CrossbatchRange {
  int64_t local_context = 1;  ///< n
  int64_t contexts = 0;       ///< d
  bool stepping = true;
};

/// Rows are cut into local contexts of n positions, the last of a row may be shorter. Context f of the
/// flattened batch sees itself causally and r contexts before it wholly, whatever row they are of, in one
/// softmax without positions:
///   r = min(d, f)                     without stepping
///   r = min(place step, d, f)         with stepping, where a row has several contexts,
///       step = ceil((d + 1) / (contexts of a row - 1))
/// q, k, v (B, T, H, dh) -> (B, T, H, dh); differentiable.
at::Tensor crossbatch_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const CrossbatchRange& range, double scale);

}  // namespace gca::model
