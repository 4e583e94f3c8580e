#pragma once
// What one position thinks of every row of a cache, which is read where it lies:
//
//   s_aj = <q_a, k_hj> scale
//
// h = a / (H / H_kv) is the key/value head of query head a. Bound by reading the keys once. To choose rows, which
// indexed_attention then reads.

#include <ATen/core/Tensor.h>

namespace gca::kernels {

/// q (H, dh), keys (R, H_kv, dh) of its type, those of a head any stride apart -> (H, R) float32 (double for
/// double). Not differentiable. The same bits for any number of threads.
at::Tensor row_scores(const at::Tensor& q, const at::Tensor& keys, double scale);

}  // namespace gca::kernels
