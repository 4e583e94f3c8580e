#pragma once
// Attention of some queries to one block of keys, so that blocks can be merged: by sums of exp, in float32 (float64 of
// float64), whatever the operands are.
//
//   s = q k^T scale      out = softmax(s) v      lse = log sum exp(s)
//   merge of two blocks: lse' = logaddexp(lse, lse_b)      out' = out e^(lse - lse') + out_b e^(lse_b - lse')

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::model {

struct AttentionBlock {
  at::Tensor out;  ///< (B, n, H, dh)
  at::Tensor lse;  ///< (B, n, H)
};

/// q (B, n, H, dh), k and v (B, m, H_kv, dh); query head a reads key/value head a / (H / H_kv). `causal`: n = m, and query i
/// sees keys 0 .. i; else every query sees every key. Without gradients.
AttentionBlock attend_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                            bool causal);

/// Makes `all` what attention to its keys and those of `block` together is.
void merge_block(AttentionBlock& all, const AttentionBlock& block);

struct BlockGradients {
  at::Tensor dq, dk, dv;  ///< of the shapes of q, k, v, in the type of statistics
};

/// What a block adds to the gradients: `dout` is that of the merged result, `lse` the merged one, and delta (B, n, H) is
/// rowsum(dout out).
BlockGradients block_gradients(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const at::Tensor& lse, const at::Tensor& delta,
                               double scale, bool causal);

}  // namespace gca::model
