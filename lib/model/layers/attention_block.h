#pragma once
// Attention of some queries to one block of keys, with what it takes to merge it with that to other blocks. Statistics and
// sums are float32 (float64 for float64), whatever the operands are:
//
//   s = q k^T scale      m = max s      l = sum exp(s - m)      o = sum exp(s - m) v      attention = o / l
//   two blocks: m' = max(m, m_b)      l' = l e^(m - m') + l_b e^(m_b - m')      o' likewise
//
// Maximum and sum are kept apart: the logarithm m + log l of large scores would lose the digits of l.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace gca::model {

/// Maximum and sum, (B, n, H).
struct AttentionStatistics {
  at::Tensor largest;
  at::Tensor sum;
};

struct AttentionBlock {
  at::Tensor sum_of_values;  ///< o, (B, n, H, dh)
  AttentionStatistics statistics;

  /// (B, n, H, dh)
  at::Tensor attention() const;
};

/// q (B, n, H, dh), k and v (B, m, H_kv, dh); query head a reads key/value head a / (H / H_kv). `causal`: n = m, and query i
/// sees keys 0 .. i; else every query sees every key. Without gradients.
AttentionBlock attend_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                            bool causal);

/// Makes `all` what attention to its keys and those of `block` together is. Writes into the tensors of `all`.
void merge_block(AttentionBlock& all, const AttentionBlock& block);

struct BlockGradients {
  at::Tensor dq, dk, dv;  ///< of the shapes of q, k, v; float32 (float64)
};

/// What a block adds to the gradients: `dout` is that of the attention to all blocks, `statistics` theirs, and delta (B, n, H)
/// is rowsum(dout attention).
BlockGradients block_gradients(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const AttentionStatistics& statistics,
                               const at::Tensor& delta, double scale, bool causal);

}  // namespace gca::model
