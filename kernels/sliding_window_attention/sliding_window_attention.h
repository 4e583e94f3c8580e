#pragma once
// Causal sliding-window self-attention with ALiBi:
//
//   s_ij = q_i . k_j * scale - slope_h (i - j)   for 0 <= i - j <= W, else -inf      out_i = softmax_j(s_ij) v_j
//
// i and j are positions in the text; keys may start P positions before the queries (the past of a segment).

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// Attention of n new positions over P + n keys, differentiable in q, k and v.
///   q      (B, n, H, dh)         any float type
///   k, v   (B, P + n, H_kv, dh)  type of q; key P + i stands at query i's own position; query head a reads
///                                key/value head a / (H / H_kv)
///   slopes (H) float32 (double when q is double), ALiBi, 0 for none
///   window W: a position sees itself and the W before it
/// Returns out (B, n, H, dh), type of q. Scores, statistics and sums are float32 (double for double); bf16
/// operands are widened, probabilities are not rounded.
at::Tensor sliding_window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                    const at::Tensor& slopes, int64_t window, double scale);

/// The same without autograd: (out, lse (B, H, n)), lse the logarithm of the sum of exp(s). H_kv < H only on
/// the CPU.
std::tuple<at::Tensor, at::Tensor> sliding_window_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                                    const at::Tensor& v,
                                                                    const at::Tensor& slopes, int64_t window,
                                                                    double scale);

/// Gradients (dq, dk, dv) of the above, H_kv = H; deterministic for any thread count.
std::tuple<at::Tensor, at::Tensor, at::Tensor> sliding_window_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, const at::Tensor& slopes, int64_t window, double scale);

}  // namespace gca::kernels
