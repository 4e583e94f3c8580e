#pragma once
// The grouped softmax of landmark attention (Mohtashami and Jaggi, arXiv 2305.16300). Positions are cut into
// blocks of S, the last of each its landmark. With s_ij = q_i . k_j * scale, and B(i) the block of i:
//
//   own(i) = { j <= i in block B(i), no landmark }
//   a      = softmax of s_i over own(i) and the landmarks of the blocks c < B(i)
//   b_c    = softmax of s_i over the S - 1 regular positions of block c
//   out_i  = sum over own(i) of a_j v_j + sum over c < B(i) of a_landmark(c) sum_j b_cj v_j
//
// The weights of a position sum to 1, and landmarks keep nothing: theirs is handed on to their blocks.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace gca::kernels {

/// Attention of n new positions, the last of P + n, differentiable in q, k and v.
///   q     (B, n, H, dh)      any float type
///   k, v  (B, P + n, H, dh)  type of q, from the beginning of a block; key P + i is at query i's position
///   block_size S, at least 2, the landmark counted
/// Returns out (B, n, H, dh), type of q. Scores, statistics and sums are float32 (double for double); bf16
/// operands are widened.
at::Tensor landmark_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              int64_t block_size, double scale);

/// The same without autograd: (out, lse (B, H, n)), lse the logarithm of the sum of exp(s) over own(i) and
/// the landmarks before.
std::tuple<at::Tensor, at::Tensor> landmark_attention_forward(const at::Tensor& q, const at::Tensor& k,
                                                              const at::Tensor& v, int64_t block_size,
                                                              double scale);

/// Gradients (dq, dk, dv) of the above. With g_j = <dO_i, v_j>, G_c = sum_j b_cj g_j and G = <dO_i, out_i>:
///   ds_j = a_j (g_j - G) in own              ds_landmark(c) = a_landmark(c) (G_c - G)
///   ds_j = a_landmark(c) b_cj (g_j - G_c) in block c
std::tuple<at::Tensor, at::Tensor, at::Tensor> landmark_attention_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, int64_t block_size, double scale);

}  // namespace gca::kernels
